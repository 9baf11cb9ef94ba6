// Live: decisions as they happen, who waits, what is loaded, memory over time, backends, speed.

import { get } from "./api.js";
import { shareBar, timePlot } from "./chart.js";
import { openDecision } from "./decision.js";
import { button, bytes, card, clock, h, number, seconds, show } from "./dom.js";

const MOST_ROWS = 300, HUES = 6;
const hues = new Map();

// A model keeps its colour, whatever is loaded beside it.
function hue(model) {
  if (!hues.has(model)) hues.set(model, hues.size % HUES);
  return hues.get(model);
}

export function live(panel) {
  const parts = Object.fromEntries(
    ["tiles", "requests", "memory", "backends", "speeds"].map((name) => [name, h("div", { class: name })]));
  const decisions = decisionList(), memory = hosts(parts.memory);
  panel.append(parts.tiles,
    h("div", { class: "columns live-columns" },
      h("div", { class: "wide-column" }, card("Under way", parts.requests), decisions.element),
      h("div", null, card("Memory", parts.memory), card("Speed", parts.speeds), card("Backends", parts.backends))));
  return {
    // The stream has begun, or begun again: what was missed is read anew.
    connected: decisions.read,
    event(name, data) {
      if (name === "decision") decisions.add(data);
      if (name !== "live") return;
      show(parts.tiles, tiles(data));
      show(parts.requests, requests(data));
      memory(data);
      show(parts.speeds, speeds(data.speeds));
      show(parts.backends, data.backends.map(backend));
    },
  };
}

function tiles(data) {
  const tile = (label, value, kind) =>
    h("div", { class: `tile ${kind || ""}` }, h("span", { class: "value" }, value), h("span", { class: "quiet" }, label));
  const all = data.backends.length, down = data.backends.filter((one) => one.status === "error");
  // Most boxes lack one of the servers that the shipped policy names.
  const lost = down.length === all || down.some((one) => one.answered);
  return [
    tile("answering", number(data.in_flight)),
    tile("waiting", number(data.queued), data.queued ? "warn" : ""),
    tile("requests in a minute", number(data.requests_per_minute)),
    tile("backends up", `${all - down.length} of ${all}`, lost ? "warn" : ""),
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

// The hosts' blocks stay where they are, so that what is unfolded or has the focus keeps it.
function hosts(panel) {
  const blocks = new Map();
  return (data) => {
    for (const [name, block] of blocks) {
      if (data.hosts.some((host) => host.name === name)) continue;
      block.element.remove();
      blocks.delete(name);
    }
    for (const host of data.hosts) {
      if (!blocks.has(host.name)) {
        blocks.set(host.name, hostBlock());
        panel.append(blocks.get(host.name).element);
      }
      blocks.get(host.name).update(host, data);
    }
  };
}

function hostBlock() {
  const held = h("div"), plot = h("div"), log = h("ul", { class: "log" }), title = h("summary");
  const past = h("details", null, title, log);
  return {
    element: h("div", { class: "host" }, held, plot, past),
    update(host, data) {
      const marks = data.marks.filter((mark) => mark.host === host.name).map((mark) => ({ ...mark, text: markText(mark) }));
      const points = data.history.map(({ at, used }) => ({ at, value: used[host.name] || 0 }));
      points.push({ at: data.at, value: host.used_bytes });
      const known = host.total_bytes || points.some((point) => point.value);
      show(held, holds(host, known));
      show(plot, known && timePlot(points, marks, host.total_bytes, data.at));
      past.hidden = !marks.length;
      show(title, `Loads, evictions and pins (${marks.length})`);
      show(log, marks.slice(-30).reverse().map((mark) => h("li", null, h("time", null, clock(mark.at)), ` ${mark.text}`)));
    },
  };
}

function holds(host, known) {
  const shares = host.models.filter((one) => one.bytes)
    .map((one) => ({ name: one.model, value: one.bytes, kind: `part-${hue(one.model)}` }));
  if (host.foreign_bytes) shares.push({ name: "others", value: host.foreign_bytes, kind: "foreign" });
  const used = `${bytes(host.used_bytes)}${host.total_bytes ? ` of ${bytes(host.total_bytes)}` : ""}`;
  return [
    h("h3", null, host.name, known && h("span", { class: "quiet" }, ` ${used}`)),
    known && shareBar(shares, host.total_bytes, `${used} in use on ${host.name}`),
    moving(host),
    h("ul", { class: "rows" }, host.models.map(loaded)),
    !host.models.length && h("p", { class: "quiet" }, "Nothing is loaded."),
  ];
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

function loaded(one) {
  const busy = [
    one.in_flight && `${one.in_flight} answering`,
    one.elsewhere && `${one.elsewhere} of other clients`,
    one.waiting && `${one.waiting} waiting`,
  ].filter(Boolean).join(", ");
  return h("li", { class: "row" },
    h("span", { class: `key ${one.bytes ? `key-${hue(one.model)}` : ""}`, "aria-hidden": "true" }),
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
  const health = one.health || {};
  const state = health.state || one.status;
  const unwell = Object.entries(one.unwell || {});
  const processes = Object.entries(one.processes || {});
  const reason = health.reason || one.error;
  return h("div", { class: "backend" },
    h("div", { class: "row" },
      h("span", { class: `badge ${state}` }, state),
      h("span", { class: "name" }, one.name),
      h("span", { class: "quiet" }, one.fallback ? `${one.type}, fallback` : one.type),
      h("span", { class: "figure" }, `${one.models.length} ${one.models.length === 1 ? "model" : "models"}`)),
    reason && h("p", { class: "bad small" }, reason),
    spending(one.spending),
    unwell.map(([key, why]) => h("p", { class: "small" },
      h("span", { class: `badge ${why.state}` }, why.state), ` ${key}: ${why.reason}`)),
    processes.map(([name, process]) => h("p", { class: "quiet small" },
      `${name}: ${process.state}${process.detail ? `, ${process.detail}` : ""}`)));
}

// What answers have cost, where they cost anything or have a limit. Amounts are US dollars.
function spending(one) {
  if (!one.usd_this_month && one.usd_per_day === null && one.usd_per_month === null) return null;
  const part = (spent, limit, when) => `$${number(spent, 2)}${limit === null ? "" : ` of $${number(limit, 2)}`} ${when}`;
  return h("p", { class: one.reason ? "bad small" : "quiet small" },
    `${part(one.usd_today, one.usd_per_day, "today")}, ${part(one.usd_this_month, one.usd_per_month, "this month")}`,
    one.reason && `: ${one.reason}`);
}

function decisionList() {
  const rows = h("ol", { class: "decisions" });
  const said = h("p", { class: "quiet" });
  const tasks = h("input", { type: "checkbox", id: "show-tasks", checked: true,
    onchange: () => rows.classList.toggle("without-tasks", !tasks.checked) });
  const more = button("Earlier ones", () => earlier(rows.lastElementChild?.dataset.at), { hidden: true });
  const known = new Set();

  function place(row, first) {
    if (known.has(row.id)) return;
    known.add(row.id);
    const item = decisionRow(row);
    if (first) rows.prepend(item);
    else rows.append(item);
    if (first) item.classList.add("fresh");
    said.hidden = true;
  }

  async function earlier(before) {
    try {
      const found = (await get(`admin/decisions?limit=50${before ? `&before=${before}` : ""}`)).decisions;
      for (const row of found) place(row, false);
      more.hidden = found.length < 50;
      said.textContent = "No decisions yet: they appear here as answers end.";
    } catch (error) {
      said.hidden = false;
      said.textContent = error.message;
    }
  }

  return {
    element: card("Decisions",
      h("div", { class: "line" }, tasks, h("label", { for: "show-tasks" }, "background tasks too")), said, rows, more),
    read() {
      known.clear();
      rows.replaceChildren();
      return earlier();
    },
    add(row) {
      place(row, true);
      if (rows.children.length <= MOST_ROWS) return;
      known.delete(rows.lastElementChild.dataset.id);
      rows.lastElementChild.remove();
      more.hidden = false;
    },
  };
}

function decisionRow(row) {
  const ok = row.outcome === "ok";
  return h("li", { class: row.mode === "task" ? "task" : "", "data-id": row.id, "data-at": row.at },
    h("button", { type: "button", class: "decision", onclick: () => openDecision(row.id) },
      h("time", null, clock(row.at)),
      h("span", { class: "name" }, row.model || "no model"),
      h("span", { class: "what" }, h("span", null, row.category), h("span", { class: "quiet" }, row.rule)),
      h("span", { class: "figure" }, row.completion_tokens ? `${number(row.completion_tokens)} tokens` : "",
        h("span", { class: ok ? "quiet" : "bad" }, ok ? ` ${seconds(row.seconds)}` : ` ${row.outcome}`))));
}
