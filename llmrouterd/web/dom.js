// Elements and texts. What comes from outside only ever becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

// An HTML element: attributes, `onclick` and the like as listeners, then children or texts.
export function h(name, props, ...children) {
  return fill(document.createElement(name), props, children);
}

// The same for SVG.
export function svg(name, props, ...children) {
  return fill(document.createElementNS(SVG, name), props, children);
}

// Replace what an element holds, unless it would look the same.
export function show(element, ...children) {
  const fresh = fill(element.cloneNode(false), null, children);
  if (!fresh.isEqualNode(element)) element.replaceChildren(...fresh.childNodes);
}

// Options of a select; the chosen one stays chosen while it is there.
export function setOptions(select, pairs) {
  const before = select.value;
  show(select, pairs.map(([value, text]) => h("option", { value }, text)));
  select.value = pairs.some(([value]) => value === before) ? before : pairs[0]?.[0] ?? "";
}

let numbers = 0;

// A labelled field; the label is tied to it by an id.
export function field(label, input, note) {
  input.id ||= `field-${++numbers}`;
  return h("div", { class: "field" }, h("label", { for: input.id }, label), input, note);
}

export function button(text, onclick, props) {
  return h("button", { type: "button", onclick, ...props }, text);
}

// A heading with its content.
export function card(title, ...children) {
  return h("section", { class: "card" }, h("h2", null, title), ...children);
}

// A text that can be copied to the clipboard.
export function copyable(text) {
  const said = h("span", { class: "quiet", role: "status" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      said.textContent = "copied";
    } catch {
      said.textContent = "select the line and copy it"; // plain HTTP has no clipboard
    }
  };
  return h("div", { class: "copyable" }, h("code", null, text), button("Copy", copy), said);
}

export const number = (value, digits = 0) =>
  value === null || value === undefined
    ? "–"
    : value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });

export const percent = (value) => (value === null || value === undefined ? "–" : `${number(100 * value)} %`);

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 1e9) return `${number(value / 1e9, value >= 1e10 ? 0 : 1)} GB`;
  return `${number(value / 1e6)} MB`;
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 10) return `${number(value, value < 1 ? 2 : 1)} s`;
  if (value < 120) return `${number(value)} s`;
  return value < 7200 ? `${number(value / 60)} min` : `${number(value / 3600, 1)} h`;
}

export const signed = (value, digits = 1) =>
  `${value < 0 ? "−" : "+"}${number(Math.abs(value), digits)}`;

export const tokens = (value) =>
  value >= 1024 && value % 1024 === 0 ? `${number(value / 1024)} k` : number(value);

export const clock = (unix) =>
  new Date(unix * 1000).toLocaleTimeString("en-GB", { hour12: false });

export const moment = (unix) =>
  new Date(unix * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
