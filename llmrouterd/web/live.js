// Live: decisions as they happen, who waits, what is loaded, memory over time, backends, speed.

import { get } from "./api.js";
import { shareBar, timePlot } from "./chart.js";
import { openDecision } from "./decision.js";
import { button, bytes, card, clock, h, number, seconds, show } from "./dom.js";

const MOST_ROWS = 300;

export function live(panel) {
  const parts = Object.fromEntries(
    ["tiles", "requests", "memory", "backends", "speeds"].map((name) => [name, h("div", { class: name })]));
  const decisions = decisionList();
  panel.append(parts.tiles,
    h("div", { class: "columns live-columns" },
      h("div", { class: "wide-column" }, card("Under way", parts.requests), decisions.element),
      h("div", null, card("Memory", parts.memory), card("Speed", parts.speeds), card("Backends", parts.backends))));
  return {
    event(name, data) {
      if (name === "decision") decisions.add(data);
      if (name !== "live") return;
      show(parts.tiles, tiles(data));
      show(parts.requests, requests(data));
      show(parts.memory, memory(data));
      show(parts.speeds, speeds(data.speeds));
      show(parts.backends, data.backends.map(backend));
    },
  };
}

function tiles(data) {
  const tile = (label, value, kind) =>
    h("div", { class: `tile ${kind || ""}` }, h("span", { class: "value" }, value), h("span", { class: "quiet" }, label));
  const down = data.backends.filter((one) => one.status === "error").length;
  return [
    tile("answering", number(data.in_flight)),
    tile("waiting", number(data.queued), data.queued ? "warn" : ""),
    tile("requests in a minute", number(data.requests_per_minute)),
    tile("backends up", `${data.backends.length - down} of ${data.backends.length}`, down ? "warn" : ""),
    tile(data.policy.rejected_digest ? "policy (an edit was refused)" : "policy",
      data.policy.digest.slice(0, 8), data.policy.rejected_digest ? "warn" : ""),
  ];
}

function requests(data) {
  if (!data.requests.length) return h("p", { class: "quiet" }, "Nothing at this moment.");
  const order = { answering: 0, loading: 1, queued: 2 };
  const rows = data.requests.toSorted((a, b) => order[a.state] - order[b.state] || b.age_seconds - a.age_seconds);
  return h("ul", { class: "rows" }, rows.map((one) =>
    h("li", { class: "row" },
      h("span", { class: `badge ${one.state}` }, one.state),
      h("span", { class: "name" }, one.model),
      h("span", { class: "quiet" }, [one.priority, one.client].filter(Boolean).join(" · ")),
      h("span", { class: "figure" }, seconds(one.age_seconds)))));
}

function memory(data) {
  return data.hosts.map((host) => {
    const marks = data.marks.filter((mark) => mark.host === host.name)
      .map((mark) => ({ ...mark, text: markText(mark) }));
    const points = data.history.map(({ at, used }) => ({ at, value: used[host.name] || 0 }));
    const sized = host.models.filter((one) => one.bytes);
    const shares = sized.map((one) => ({ name: one.model, value: one.bytes }));
    if (host.foreign_bytes) shares.push({ name: "others", value: host.foreign_bytes, kind: "foreign" });
    const known = host.total_bytes || host.used_bytes;
    return h("div", { class: "host" },
      h("h3", null, host.name, h("span", { class: "quiet" },
        known ? ` ${bytes(host.used_bytes)}${host.total_bytes ? ` of ${bytes(host.total_bytes)}` : ""}` : "")),
      known && shareBar(shares, host.total_bytes, `${bytes(host.used_bytes)} in use on ${host.name}`),
      moving(host),
      h("ul", { class: "rows" }, host.models.map((one) => loaded(one, sized.indexOf(one)))),
      !host.models.length && h("p", { class: "quiet" }, "Nothing is loaded."),
      points.length > 1 && known ? timePlot([...points, { at: data.at, value: host.used_bytes }], marks, host.total_bytes, data.at) : null,
      marks.length ? h("details", { "data-keep": host.name }, h("summary", null, `Loads, evictions and pins (${marks.length})`),
        h("ul", { class: "log" }, marks.slice(-30).reverse().map((mark) =>
          h("li", null, h("time", null, clock(mark.at)), ` ${mark.text}`)))) : null);
  });
}

function markText(mark) {
  const done = { load: "loaded", evict: "put out", unload: "unloaded", pin: "pinned", unpin: "unpinned" };
  return `${done[mark.kind] || mark.kind} ${mark.model}${mark.for && mark.for !== mark.model ? ` for ${mark.for}` : ""}`;
}

function moving(host) {
  if (!host.moving) return null;
  const { kind, models, seconds: since } = host.moving;
  return h("p", null, h("span", { class: "badge loading" }, kind === "load" ? "loading" : "unloading"),
    ` ${models.join(", ")}, since ${seconds(since)}`);
}

function loaded(one, place) {
  const busy = [
    one.in_flight && `${one.in_flight} answering`,
    one.elsewhere && `${one.elsewhere} of other clients`,
    one.waiting && `${one.waiting} waiting`,
  ].filter(Boolean).join(", ");
  return h("li", { class: "row" },
    h("span", { class: `key ${place < 0 ? "" : `key-${place % 6}`}`, "aria-hidden": "true" }),
    h("span", { class: "name" }, one.model, one.pinned && h("span", { class: "badge" }, "pinned")),
    h("span", { class: "quiet" }, busy || "idle"),
    h("span", { class: "figure" }, one.bytes ? bytes(one.bytes) : ""));
}

function speeds(rows) {
  if (!rows.length) return h("p", { class: "quiet" }, "No answers in the last five minutes.");
  return h("table", null,
    h("thead", null, h("tr", null, h("th", { scope: "col" }, "model"), h("th", { scope: "col", class: "figure" }, "answers"),
      h("th", { scope: "col", class: "figure" }, "tokens/s"))),
    h("tbody", null, rows.map((row) => h("tr", null, h("td", { class: "name" }, row.model),
      h("td", { class: "figure" }, number(row.answers)), h("td", { class: "figure" }, number(row.tokens_per_second, 1))))));
}

function backend(one) {
  const cooling = Object.entries(one.cooling);
  const state = one.status === "ok" && cooling.length ? "cooling" : one.health || one.status;
  const processes = Object.entries(one.processes || {});
  return h("div", { class: "backend" },
    h("div", { class: "row" },
      h("span", { class: `badge ${state}` }, state),
      h("span", { class: "name" }, one.name),
      h("span", { class: "quiet" }, one.fallback ? `${one.type}, fallback` : one.type),
      h("span", { class: "figure" }, `${one.models.length} ${one.models.length === 1 ? "model" : "models"}`)),
    one.error && h("p", { class: "bad small" }, one.error),
    cooling.map(([key, reason]) => h("p", { class: "small" }, `${key} rests: ${reason}`)),
    processes.map(([name, process]) => h("p", { class: "quiet small" },
      `${name}: ${process.state}${process.detail ? `, ${process.detail}` : ""}`)));
}

function decisionList() {
  const rows = h("ol", { class: "decisions" });
  const empty = h("p", { class: "quiet" }, "No decisions yet: they appear here as answers end.");
  const tasks = h("input", { type: "checkbox", id: "show-tasks", checked: true,
    onchange: () => rows.classList.toggle("without-tasks", !tasks.checked) });
  const more = button("Earlier ones", earlier);
  const known = new Set();
  let oldest = null;

  function place(row, first) {
    if (known.has(row.id)) return;
    known.add(row.id);
    empty.hidden = true;
    if (first) rows.prepend(decisionRow(row));
    else rows.append(decisionRow(row));
    oldest = Math.min(oldest ?? row.at, row.at);
  }

  async function earlier() {
    const before = oldest === null ? "" : `&before=${oldest}`;
    const found = (await get(`admin/decisions?limit=50${before}`)).decisions;
    for (const row of found) place(row, false);
    more.hidden = found.length < 50;
  }

  earlier().catch((error) => {
    empty.textContent = error.message;
  });
  const element = card("Decisions",
    h("div", { class: "line" }, tasks, h("label", { for: "show-tasks" }, "background tasks too")), empty, rows, more);
  return {
    element,
    add(row) {
      place(row, true);
      rows.firstElementChild.classList.add("fresh");
      if (rows.children.length > MOST_ROWS) rows.lastElementChild.remove();
    },
  };
}

function decisionRow(row) {
  const ok = row.outcome === "ok";
  return h("li", { class: row.mode === "task" ? "task" : "" },
    h("button", { type: "button", class: "decision", onclick: () => openDecision(row.id) },
      h("time", null, clock(row.at)),
      h("span", { class: "name" }, row.model || "no model"),
      h("span", { class: "what" }, h("span", null, row.category), h("span", { class: "quiet" }, row.rule)),
      h("span", { class: "figure" }, row.completion_tokens ? `${number(row.completion_tokens)} tokens` : "",
        h("span", { class: ok ? "quiet" : "bad" }, ok ? ` ${seconds(row.seconds)}` : ` ${row.outcome}`))));
}
