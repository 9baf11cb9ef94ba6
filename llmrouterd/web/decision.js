// A decision as it was made: words, terms as bars, the rejected, and why another was not chosen.

import { get } from "./api.js";
import { barRange, stackedBar } from "./chart.js";
import { button, field, h, moment, number, percent, seconds, setOptions, show, signed } from "./dom.js";

const FEW = 6, FEW_WEIGHTS = 3;

// The parts of a described Decision. whyNot(model) -> promise of an answer with `why_not`.
export function decisionView(described, whyNot) {
  const range = barRange(described.ranked);
  const bars = described.ranked.map((one, place) => candidate(one, place, range));
  const rest = bars.slice(FEW);
  return [
    h("h3", null, "What was read"), signals(described.signals),
    bars.length ? [h("h3", null, `Candidates (${bars.length})`), h("ol", { class: "candidates" }, bars.slice(0, FEW))] : null,
    rest.length ? h("details", null, h("summary", null, `${rest.length} more`), h("ol", { class: "candidates" }, rest)) : null,
    described.rejected.length ? [h("h3", null, `Not possible (${described.rejected.length})`), rejected(described.rejected)] : null,
    whyNotForm(described, whyNot),
  ];
}

// The first line of a decision's words: who answered, or would.
export const headline = (words) => h("p", { class: "headline" }, words.split("\n", 1)[0]);

function signals(one) {
  const best = Object.entries(one.probabilities || {}).filter(([, chance]) => chance >= 0.01)
    .sort((a, b) => b[1] - a[1]).slice(0, 4);
  const facts = [
    ["category", one.category], ["complexity", number(one.complexity, 2)],
    ["prompt", `${one.exact_tokens ? "" : "up to "}${number(one.prompt_tokens)} tokens`],
    one.tool_tokens ? ["tools", `${number(one.tool_tokens)} tokens`] : null,
    one.needs.length ? ["needs", one.needs.join(", ")] : null,
    one.task ? ["task", one.task] : null, one.client ? ["client", one.client] : null,
    one.taught ? ["taught", `${percent(one.taught)} alike`] : null,
    ["doubt", percent(one.abstain)],
  ].filter(Boolean);
  return [
    h("dl", { class: "facts" }, facts.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))),
    best.length ? h("ul", { class: "chances" }, best.map(([name, chance]) =>
      h("li", null, h("span", null, name), h("meter", { min: 0, max: 1, value: chance, "aria-label": name }),
        h("span", { class: "figure" }, percent(chance))))) : null,
  ];
}

function candidate(one, place, range) {
  const standing = one.standing || {};
  const said = [
    `good answer ${percent(one.quality)}`, seconds(one.seconds),
    standing.state && standing.state !== "ready" ? (standing.state === "absent" ? "not loaded" : standing.state) : null,
    standing.wait ? `${seconds(standing.wait)} of waiting` : null,
    standing.evicts?.length ? `puts out ${standing.evicts.join(", ")}` : null,
  ].filter(Boolean).join(" · ");
  return h("li", { class: place ? "" : "chosen" },
    h("div", { class: "row" }, h("span", { class: "name" }, one.model),
      h("span", { class: "quiet" }, said), h("b", { class: "figure" }, number(one.total, 1))),
    stackedBar(one, range));
}

function rejected(rows) {
  return h("ul", { class: "rejected" }, rows.map((one) =>
    h("li", null, h("span", { class: "name" }, one.model), h("span", { class: "badge" }, one.gate), h("span", null, one.reason))));
}

function whyNotForm(described, whyNot) {
  const others = [...described.ranked.map((one) => one.model), ...described.rejected.map((one) => one.model)]
    .filter((name) => name !== described.model);
  if (!others.length) return null;
  const select = h("select"), answer = h("div", { class: "why", role: "status" });
  setOptions(select, others.map((name) => [name, name]));
  const ask = async () => {
    try {
      const { why_not: found } = await whyNot(select.value);
      show(answer, whyNotAnswer(found));
    } catch (error) {
      show(answer, h("p", { class: "bad" }, error.message));
    }
  };
  return [h("h3", null, "Why not another?"),
    h("div", { class: "line" }, field("Model", select), button("Ask", ask)), answer];
}

function whyNotAnswer(found) {
  if (!found.terms.length) return h("p", { class: "words" }, found.words);
  const apart = found.terms.filter((term) => Math.abs(term.difference) >= 0.05);
  const weights = found.weights.slice(0, FEW_WEIGHTS).map((one, place) =>
    [place ? " or " : "", h("b", null, `${one.name} ${short(one.to)}`), ` instead of ${short(one.from)}`]);
  return [
    found.words.split("\n").filter((line) => !line.startsWith(" ")).map((line) => h("p", null, line)),
    h("table", null,
      h("thead", null, h("tr", null, ["term", "chosen", "this one", "difference"].map((name, place) =>
        h("th", { scope: "col", class: place ? "figure" : "" }, name)))),
      h("tbody", null, apart.map((term) => h("tr", null, h("td", { class: "name" }, term.name),
        [term.chosen, term.other, term.difference].map((value) => h("td", { class: "figure" }, signed(value))))))),
    weights.length ? h("p", { class: "change" }, "It would be chosen with the weight ", weights, ".") : null,
  ];
}

const short = (value) => String(Number(value.toPrecision(4)));

// Show a stored decision in the dialog.
export async function openDecision(id) {
  const dialog = document.getElementById("decision");
  const close = button("Close", () => dialog.close(), { class: "close" });
  const body = h("div", null, h("p", { class: "quiet" }, "One moment …"));
  dialog.replaceChildren(h("header", { class: "line" }, h("h2", { id: "decision-title" }, "Decision"),
    h("code", { class: "quiet" }, id), close), body);
  dialog.showModal();
  const path = `admin/decisions/${encodeURIComponent(id)}`;
  try {
    const row = await get(path);
    const whyNot = (model) => get(`${path}?why_not=${encodeURIComponent(model)}`);
    show(body, headline(row.words), outcome(row), decisionView(row.record, whyNot),
      h("details", null, h("summary", null, "In words"), h("pre", { class: "words" }, row.words)));
  } catch (error) {
    show(body, h("p", { class: "bad" }, error.message));
  }
}

function outcome(row) {
  const { place, attempts, words } = row.record;
  return [
    h("p", { class: row.outcome === "ok" ? "" : "bad" }, `${moment(row.at)}: ${row.outcome}, `,
      [row.model, row.ttft !== null && `first token after ${seconds(row.ttft)}`, `all after ${seconds(row.seconds)}`,
        row.completion_tokens && `${number(row.completion_tokens)} tokens`].filter(Boolean).join(", ")),
    place?.waited >= 0.01 ? h("p", null, `It waited ${seconds(place.waited)}`,
      place.load_seconds ? `, ${seconds(place.load_seconds)} of them for the load` : "",
      place.evicted.length ? `; ${place.evicted.join(", ")} was put out for it` : "", ".") : null,
    attempts?.map((one) => h("p", { class: "bad" }, `${one.model} failed after ${seconds(one.seconds)}: ${one.error}`)),
    words ? h("blockquote", null, words) : null,
  ];
}
