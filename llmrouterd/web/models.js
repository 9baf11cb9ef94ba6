// Models: quality by category with its interval and sources, speed, memory, names.

import { get } from "./api.js";
import { dotPlot } from "./chart.js";
import { bytes, card, copyable, field, h, number, percent, seconds, setOptions, show, tokens } from "./dom.js";

export function models(panel) {
  const category = h("select", { onchange: draw });
  const search = h("input", { type: "search", oninput: draw, autocomplete: "off" });
  const unmatched = h("input", { type: "checkbox", id: "unmatched", onchange: draw });
  const unmatchedLabel = h("label", { for: "unmatched" }, "only without published figures");
  const list = h("div", { class: "models" });
  const said = h("p", { class: "quiet", role: "status" }, "One moment …");
  panel.append(
    h("div", { class: "line filters" }, field("Quality in", category), field("Find", search),
      h("div", { class: "line" }, unmatched, unmatchedLabel)),
    card("Models", said, h("div", { class: "axis", "aria-hidden": "true" }, h("span", null,
      h("span", null, "0 %"), h("span", null, "good answers"), h("span", null, "100 %"))), list));
  let known = { models: [], unmatched: {}, footprints: {} };

  async function load() {
    try {
      const [all, boards, vram] = await Promise.all([get("admin/models"), get("admin/benchmarks"), get("admin/vram")]);
      known = {
        models: all.models,
        unmatched: boards.unmatched,
        footprints: Object.fromEntries(vram.hosts.flatMap((host) => host.footprints.map((one) => [one.model, one]))),
      };
      const names = new Set(all.models.flatMap((model) => Object.keys(model.evidence)));
      setOptions(category, ["overall", ...[...names].filter((name) => name !== "overall").sort()].map((name) => [name, name]));
      unmatchedLabel.textContent = `only without published figures (${Object.keys(boards.unmatched).length})`;
      draw();
    } catch (error) {
      show(said, error.message);
    }
  }

  function draw() {
    const wanted = search.value.trim().toLowerCase();
    const quality = (model) => (model.evidence[category.value] || model.evidence.overall)?.quality;
    const rows = known.models
      .filter((model) => model.id.toLowerCase().includes(wanted))
      .filter((model) => !unmatched.checked || model.id in known.unmatched)
      .sort((a, b) => (quality(b)?.[1] ?? -1) - (quality(a)?.[1] ?? -1));
    said.textContent = `${rows.length} of ${known.models.length}, the best first. Open one for its sources, speed and names.`;
    list.replaceChildren(...rows.map((model) => modelRow(model, quality(model), known, category.value)));
  }

  return { open: load };
}

function modelRow(model, quality, known, category) {
  const footprint = known.footprints[model.id];
  const pace = model.profile.decode_tokens_per_second;
  const body = h("div", { class: "model-body" });
  const row = h("details", { class: "model" },
    h("summary", null,
      h("span", { class: "name" }, model.id,
        model.resident && !model.remote && h("span", { class: "badge ok" }, "loaded"), model.pinned && h("span", { class: "badge" }, "pinned"),
        !model.enabled && h("span", { class: "badge error" }, "off"),
        model.id in known.unmatched && h("span", { class: "badge queued" }, "no figures")),
      h("span", { class: "plot-cell" }, quality ? dotPlot(quality, `${model.id}, ${category}`) : h("span", { class: "quiet" }, "nothing is known")),
      h("span", { class: "figure" }, quality ? percent(quality[1]) : ""),
      h("span", { class: "figures quiet" },
        [pace && `${number(pace)} tokens/s`, footprint?.bytes && bytes(footprint.bytes), model.context && `${tokens(model.context)} context`]
          .filter(Boolean).join(" · "))),
    body);
  row.addEventListener("toggle", () => {
    if (row.open && !body.hasChildNodes()) fillBody(body, model, footprint);
  });
  return row;
}

async function fillBody(body, model, footprint) {
  const names = h("div", null, h("p", { class: "quiet" }, "One moment …"));
  body.append(h("h3", null, "Quality"), evidence(model), h("h3", null, "Figures"), facts(model, footprint),
    h("h3", null, "Published names"), names);
  try {
    const path = model.id.split("/").map(encodeURIComponent).join("/");
    show(names, naming(model, (await get(`admin/models/${path}`)).naming));
  } catch (error) {
    show(names, h("p", { class: "bad" }, error.message));
  }
}

function evidence(model) {
  const rows = Object.entries(model.evidence).sort(([a], [b]) => (b === "overall") - (a === "overall") || a.localeCompare(b));
  if (!rows.length) return h("p", { class: "quiet" }, "Nothing is known of it.");
  return h("div", { class: "evidence" }, rows.map(([category, found]) =>
    h("details", null,
      h("summary", null, h("span", { class: "name" }, category), h("span", { class: "plot-cell" }, dotPlot(found.quality, category)),
        h("span", { class: "figure" }, percent(found.quality[1]))),
      h("ul", { class: "sources" }, found.sources.toSorted((a, b) => b.weight - a.weight).map((source) =>
        h("li", null, h("b", { class: "figure" }, percent(source.weight)), h("span", null, source.source),
          h("span", { class: "quiet" }, `${number(source.mean, 2)} ± ${number(source.sd, 2)} logits`)))))));
}

function facts(model, footprint) {
  const { profile } = model;
  const memory = footprint && (footprint.basis === "estimated" && footprint.error
    ? `${bytes(footprint.bytes)}, estimated within ${percent(footprint.error)}` : `${bytes(footprint.bytes)}, ${footprint.basis}`);
  const rows = [
    ["capabilities", model.capabilities ? model.capabilities.join(", ") : "it does not say"],
    ["context", model.context && `${number(model.context)} tokens`],
    ["parameters", model.size_b && `${number(model.size_b, 1)} B`], ["quantisation", model.quantization],
    ["file", model.size_bytes && bytes(model.size_bytes)], ["memory", footprint?.bytes && memory],
    ["writes", profile.decode_tokens_per_second && `${number(profile.decode_tokens_per_second, 1)} tokens/s`],
    ["reads", profile.prefill_tokens_per_second && `${number(profile.prefill_tokens_per_second)} tokens/s`],
    ["first token", profile.ttft_seconds !== null && seconds(profile.ttft_seconds)],
    ["load", profile.load_seconds !== null && seconds(profile.load_seconds)],
    ["measured", profile.measured_at ? profile.measured_at.slice(0, 16).replace("T", " ") : profile.live_samples ? "not yet" : "not yet: its speed is assumed by its size"],
    ["learnt from", profile.live_samples && `${number(profile.live_samples)} answers since`],
    ["price", model.price && `${model.price[0]} in, ${model.price[1]} out, per million tokens`],
  ].filter(([, value]) => value);
  return h("dl", { class: "facts" }, rows.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
}

function naming(model, found) {
  const matches = found.matches.length
    ? h("ul", { class: "sources" }, found.matches.map((match) => h("li", null, h("b", null, match.source), h("span", null, match.model),
      h("span", { class: "quiet" }, `by ${match.method}`))))
    : h("p", null, "No published name is surely its own.");
  if (found.has_figures) return matches;
  const line = (name) => `- {match: ${JSON.stringify(model.id)}, canonical: ${JSON.stringify(name)}}`;
  return [matches,
    h("p", null, found.suggestions.length
      ? "No board has figures under its own name. Similar names, which count only if you say so; paste the right one below "
      : "No board has figures for it, and none has a similar name. If you know its published name, paste below ",
    h("code", null, "models:"), " in the policy:"),
    (found.suggestions.length ? found.suggestions : [{ model: "PUBLISHED/NAME" }]).map((one) =>
      h("div", { class: "suggestion" }, one.source && h("span", { class: "quiet" }, `${one.source}, ${percent(one.similarity)} alike`),
        copyable(line(one.model))))];
}
