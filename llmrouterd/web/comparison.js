// What an edit would change: recorded decisions, decided again by the edited policy.

import { clock, h, number, percent, seconds, signed } from "./dom.js";

const FIGURES = [
  ["quality", "expected quality", (value) => percent(value), (value) => `${signed(100 * value)} points`],
  ["wait", "first token, median", seconds, (value) => `${signed(value)} s`],
  ["seconds", "whole answer, median", seconds, (value) => `${signed(value)} s`],
  ["dollars", "dollars", (value) => number(value, 4), (value) => signed(value, 4)],
  ["swaps", "loads", (value) => number(value), (value) => signed(value, 0)],
  ["refused", "refused", (value) => number(value), (value) => signed(value, 0)],
];

export function comparisonView(found) {
  return [
    h("p", { class: "headline" }, found.summary),
    h("p", { class: "quiet" }, `${number(found.changed)} of ${number(found.decisions)} decisions change`
      + (found.skipped ? `; ${number(found.skipped)} could not be decided again` : "")),
    h("table", null,
      h("thead", null, h("tr", null, ["", "before", "after", "difference"].map((name, place) =>
        h("th", { scope: "col", class: place ? "figure" : "" }, name)))),
      h("tbody", null, FIGURES.map(([key, label, text, change]) => row(label, found.before[key], found.after[key], text, change)))),
    found.moves.length ? [h("h3", null, "From model to model"), moves(found.moves, found.decisions)] : null,
    found.affected.length ? [h("h3", null, "The most affected"), found.affected.map(example)] : null,
  ];
}

function row(label, before, after, text, change) {
  return h("tr", null, h("th", { scope: "row" }, label), h("td", { class: "figure" }, text(before)),
    h("td", { class: "figure" }, text(after)), h("td", { class: "figure" }, after === before ? "" : change(after - before)));
}

function moves(rows, all) {
  const most = Math.max(...rows.map((one) => one.count));
  return h("ul", { class: "moves" }, rows.map((one) => h("li", null,
    h("span", { class: "name" }, `${one.from || "no model"} → ${one.to || "no model"}`),
    h("meter", { min: 0, max: most, value: one.count, "aria-label": "decisions" }),
    h("span", { class: "figure" }, `${number(one.count)} (${percent(one.count / (all || 1))})`))));
}

function example(one) {
  return h("details", null,
    h("summary", null, h("time", { class: "quiet" }, clock(one.at)), ` ${one.category}: `, h("b", null, one.before || "no model"), " → ",
      h("b", null, one.after || "no model"), h("span", { class: "quiet" }, one.gain !== null ? ` ${signed(one.gain)} points` : one.before === "nobody" ? "" : " the other is not possible any more")),
    h("h4", null, "Before"), h("pre", { class: "words" }, one.words_before), h("h4", null, "After"), h("pre", { class: "words" }, one.words_after));
}
