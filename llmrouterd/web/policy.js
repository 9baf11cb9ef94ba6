// Policy: the active file, its problems and its past; edits that are tried before they are saved.

import { get, send } from "./api.js";
import { comparisonView } from "./comparison.js";
import { editor } from "./editor.js";
import { button, card, h, moment, show } from "./dom.js";

export function policy(panel) {
  const edit = editor("The policy's text", changed);
  const about = h("div", { class: "stack" }), past = h("div"), result = h("div", { class: "stack" });
  const said = h("p", { role: "status", class: "quiet" });
  const check = button("Try this edit", tryEdit, { class: "primary" });
  const save = button("Save", saveEdit), back = button("Back to the file", () => load());
  let file = null, tried = "", state = null, refused;
  panel.append(h("div", { class: "columns" },
    h("div", { class: "wide-column" }, h("section", { class: "card stack" }, h("h2", null, "The policy"), edit.element,
      h("div", { class: "line" }, check, save, back, said)), result),
    h("div", null, card("Active", about), card("History", past))));

  const tell = (text, bad = false) => {
    said.className = bad ? "bad" : "quiet";
    said.textContent = text;
  };

  const differs = () => file !== null && edit.text !== file.text;

  function changed() {
    back.disabled = !differs();
    check.disabled = file === null;
    // Only what was tried without a problem can be saved.
    save.disabled = !differs() || tried !== edit.text;
    save.hidden = !state?.editable;
  }

  // Read the file; where only news are looked for, an unchanged one stays as it is shown, and so does what is being written.
  async function load(news = false) {
    try {
      state = await get("admin/policy");
      show(about, aboutPolicy(state));
      show(past, history(state.history));
      const found = await get("admin/policy/text");
      if (news && found.digest === file?.digest && refused === state.rejected?.digest) return;
      if (news && differs()) {
        if (found.digest !== file.digest) tell("The file was changed meanwhile.");
        return;
      }
      edit.text = found.text;
      file = { ...found, text: edit.text }; // with the line ends of a text area
      refused = state.rejected?.digest;
      tried = "";
      result.replaceChildren();
      tell(`${file.file}${state.editable ? "" : "; saving from here is off"}`);
      showRefused();
    } catch (error) {
      tell(error.message, true);
    }
    changed();
  }

  // The file on disk is the refused edit itself, so that its problems can be marked in it.
  function showRefused() {
    if (!state.rejected) return;
    edit.mark(ours(state.rejected.problems));
    show(result, card("The last edit was refused", h("p", null, "The policy before it keeps serving."), problems(state.rejected.problems)));
  }

  const ours = (list) => list.filter((one) => one.line && (!one.file || one.file === file.file));

  function problems(list) {
    return h("ul", { class: "problems" }, list.map((one) => {
      const text = one.text || one.message;
      const here = ours([one]).length > 0;
      return h("li", { class: one.severity === "warning" ? "warning" : "error" },
        here ? button(`line ${one.line}`, () => edit.go(one.line, one.column)) : null,
        h("span", null, here && one.message ? `${one.path ? `${one.path}: ` : ""}${one.message}` : text));
    }));
  }

  async function tryEdit() {
    const text = edit.text;
    tell("trying it …");
    check.disabled = true;
    try {
      const found = await send("POST", "admin/policy/try", text, "application/yaml");
      const errors = found.problems.filter((one) => one.severity !== "warning");
      edit.mark(ours(found.problems));
      tried = errors.length ? "" : text;
      show(result, tryResult(found, problems));
      tell(errors.length ? `${errors.length} problem${errors.length > 1 ? "s" : ""}: it would be refused.` : "It would be accepted. Nothing was written.", errors.length > 0);
    } catch (error) {
      tell(error.message, true);
    }
    changed();
  }

  async function saveEdit() {
    const text = edit.text;
    try {
      const found = await send("PUT", "admin/policy", text, "application/yaml", { "If-Match": `"${file.digest}"` });
      await load();
      tell(`Saved as ${found.digest.slice(0, 8)}; the text before it is in ${found.backup}.`);
    } catch (error) {
      const found = error.data?.places;
      if (found) {
        edit.mark(ours(found));
        show(result, card("It was refused", problems(found)));
      }
      tell(error.status === 409 ? "The file has changed meanwhile. Keep your text elsewhere, then go back to the file." : error.message, true);
    }
  }

  changed();
  return {
    open: () => load(true),
    event(name) {
      if (name === "policy") load(true);
    },
  };
}

function aboutPolicy(state) {
  const { active, rejected } = state;
  const { tests } = active;
  const rows = [
    ["digest", active.digest], ["since", moment(active.loaded_at)], ["generation", active.generation],
    ["rules", active.rules.join(", ")], ["backends", active.backends.join(", ")],
  ];
  return [
    rejected && h("p", { class: "bad" }, `An edit of ${moment(rejected.at)} was refused.`),
    h("dl", { class: "facts one" }, rows.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))),
    h("h3", null, "Its tests"), testsView(tests),
  ];
}

function testText(test) {
  return `${test.name || test.place}: ${test.missed.map((miss) => miss.text).join("; ")}`;
}

function history(rows) {
  if (!rows.length) return h("p", { class: "quiet" }, "No edits yet.");
  return h("ol", { class: "history" }, rows.map((row) => h("li", null,
    h("div", { class: "line" }, h("code", null, row.digest.slice(0, 8)), h("time", { class: "quiet" }, moment(row.at)),
      h("span", { class: "badge" }, row.reason)),
    row.changed.length ? h("p", { class: "small" }, `changed: ${row.changed.join(", ")}`) : null,
    row.summary ? h("p", { class: "small" }, row.summary) : null)));
}

function tryResult(found, problems) {
  const { tests, comparison } = found;
  return [
    found.problems.length ? card("Problems", problems(found.problems)) : null,
    found.digest ? card("Its tests", testsView(tests)) : null,
    found.digest ? card("On the recorded decisions", comparison?.decisions
      ? comparisonView(comparison) : h("p", { class: "quiet" }, "There are none to compare with yet.")) : null,
  ];
}

function testsView({ passed, failed, skipped }) {
  return [h("p", { class: failed.length ? "bad" : "" }, `${passed} passed, ${failed.length} failed, ${skipped.length} skipped`),
    failed.map((test) => h("p", { class: "bad small" }, testText(test)))];
}
