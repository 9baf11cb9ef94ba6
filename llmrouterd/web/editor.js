// A text area with line numbers, on which problems can be marked.

import { h } from "./dom.js";

export function editor(label, oninput) {
  const numbers = h("div", { class: "numbers", "aria-hidden": "true" });
  const area = h("textarea", { class: "code", "aria-label": label, spellcheck: "false", autocapitalize: "off",
    autocomplete: "off", wrap: "off", rows: 24 });
  let marked = new Map();

  function number() {
    const lines = area.value.split("\n").length;
    while (numbers.children.length > lines) numbers.lastElementChild.remove();
    while (numbers.children.length < lines) numbers.append(h("span", null, numbers.children.length + 1));
    for (const [place, line] of [...numbers.children].entries()) {
      line.className = marked.has(place + 1) ? `marked ${marked.get(place + 1)}` : "";
    }
    numbers.scrollTop = area.scrollTop;
  }

  area.addEventListener("input", () => {
    number();
    oninput();
  });
  area.addEventListener("scroll", () => (numbers.scrollTop = area.scrollTop));
  return {
    element: h("div", { class: "editor" }, numbers, area),
    get text() {
      return area.value;
    },
    set text(value) {
      area.value = value;
      marked = new Map();
      number();
    },
    // problems: [{line, severity}]
    mark(problems) {
      marked = new Map(problems.map((one) => [one.line, one.severity === "warning" ? "warning" : "error"]));
      number();
    },
    // Put the cursor at a place, both from 1.
    go(line, column = 1) {
      const lines = area.value.split("\n");
      const at = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0) + column - 1;
      area.focus();
      area.setSelectionRange(at, at);
      const height = area.scrollHeight / lines.length;
      area.scrollTop = Math.max(0, (line - 4) * height);
    },
  };
}
