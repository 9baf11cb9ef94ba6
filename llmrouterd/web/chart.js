// Dot plots, stacked bars and one plot over time, as SVG whose sizes are in per cent.

import { bytes, clock, h, number, signed, svg } from "./dom.js";

const TERMS = ["quality", "time", "cost", "stickiness", "tools", "resident", "eviction", "pinned",
  "unknown", "margin"];

// The colour class of a term; `prefer GLOB` shares one.
const colour = (name) => `term-${TERMS.includes(name) ? name : "prefer"}`;

const at = (value, [low, high]) => `${(100 * (value - low)) / (high - low || 1)}%`;

// The range that the bars of all these candidates need, with zero in it.
export function barRange(candidates) {
  let low = 0, high = 0;
  for (const { terms } of candidates) {
    let below = 0, above = 0;
    for (const points of Object.values(terms)) points < 0 ? (below += points) : (above += points);
    low = Math.min(low, below);
    high = Math.max(high, above);
  }
  return [low, high];
}

// One candidate's terms: what speaks against it to the left of zero, what speaks for it to the
// right, and a mark at the total. The same figures follow as text.
export function stackedBar({ total, terms }, range) {
  const entries = Object.entries(terms);
  const label = entries.map(([name, points]) => `${name} ${signed(points)}`).join(", ");
  const chart = svg("svg", { class: "bar", height: 22, role: "img", "aria-label": `total ${number(total, 1)}: ${label}` });
  let below = 0, above = 0;
  for (const [name, points] of entries) {
    const [from, to] = points < 0 ? [below + points, below] : [above, above + points];
    if (points < 0) below += points;
    else above += points;
    const width = (100 * (to - from)) / (range[1] - range[0] || 1);
    chart.append(svg("rect", { x: at(from, range), y: 3, width: `${width}%`, height: 16, class: colour(name) },
      svg("title", null, `${name} ${signed(points)}`)));
  }
  chart.append(
    svg("line", { x1: at(0, range), x2: at(0, range), y1: 0, y2: 22, class: "zero" }),
    svg("line", { x1: at(total, range), x2: at(total, range), y1: 0, y2: 22, class: "total" }));
  const legend = entries.map(([name, points]) =>
    h("li", null, swatch(colour(name)), h("span", null, `${name} `), h("b", null, signed(points))));
  return h("div", { class: "stacked" }, chart, h("ul", { class: "legend" }, legend));
}

function swatch(name) {
  return svg("svg", { class: "swatch", width: 10, height: 10, "aria-hidden": "true" },
    svg("rect", { width: 10, height: 10, rx: 2, class: name }));
}

// An interval with its middle, between 0 and 1. quality: [low, middle, high].
export function dotPlot(quality, label) {
  const [low, middle, high] = quality;
  const text = `${label}: ${number(100 * middle)} %, ${number(100 * low)} to ${number(100 * high)} %`;
  const grid = [0, 25, 50, 75, 100].map((x) =>
    svg("line", { x1: `${x}%`, x2: `${x}%`, y1: 2, y2: 18, class: "grid" }));
  return svg("svg", { class: "dots", height: 20, role: "img", "aria-label": text }, grid,
    svg("line", { x1: at(low, [0, 1]), x2: at(high, [0, 1]), y1: 10, y2: 10, class: "interval" }),
    svg("circle", { cx: at(middle, [0, 1]), cy: 10, r: 4.5, class: "middle" }),
    svg("title", null, text));
}

// Parts of a whole: [{name, value, kind}], kind as a class. Without a whole, of their sum.
export function shareBar(parts, whole, label) {
  const sum = parts.reduce((total, part) => total + part.value, 0);
  const most = Math.max(whole || 0, sum) || 1;
  let from = 0;
  const boxes = parts.map((part) => {
    const box = svg("rect", { x: `${(100 * from) / most}%`, width: `${(100 * part.value) / most}%`,
      height: 14, class: part.kind }, svg("title", null, `${part.name} ${bytes(part.value)}`));
    from += part.value;
    return box;
  });
  return svg("svg", { class: "shares", height: 14, role: "img", "aria-label": label },
    svg("rect", { width: "100%", height: 14, class: "track" }), boxes);
}

const GLYPHS = { load: "M-4 4h8l-4-8z", evict: "M-4-4h8l-4 8z", unload: "M-4-4h8l-4 8z",
  pin: "M-4 0l4-4 4 4-4 4z", unpin: "M-4 0l4-4 4 4-4 4z" };

// Memory in use over time. points: [{at, value}]; marks: [{at, kind, text}]; all of one host.
export function timePlot(points, marks, most, until) {
  const from = Math.min(points[0].at, until - 300);
  const range = [from, until];
  const top = Math.max(most || 0, ...points.map((point) => point.value)) * 1.06 || 1;
  const x = (moment) => (1000 * (moment - from)) / (until - from);
  const y = (value) => 100 - (100 * value) / top;
  // A level holds until the next one is read.
  let path = `M${x(points[0].at)} ${y(points[0].value)}`;
  for (const point of points.slice(1)) path += `H${x(point.at)}V${y(point.value)}`;
  path += "H1000";
  const last = points.at(-1).value;
  const limit = most ? [svg("line", { x1: 0, x2: 1000, y1: y(most), y2: y(most), class: "limit" })] : [];
  const plot = svg("svg", { class: "area", viewBox: "0 0 1000 100", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("path", { d: `${path}V100H${x(points[0].at)}Z`, class: "under" }),
    svg("path", { d: path, class: "level" }), limit);
  const seen = marks.filter((mark) => mark.at >= from);
  const glyphs = svg("svg", { class: "marks", height: 24, "aria-hidden": "true" }, seen.map((mark) =>
    svg("svg", { x: at(mark.at, range), y: mark.kind === "load" ? 17 : 6, overflow: "visible" },
      svg("path", { d: GLYPHS[mark.kind] || GLYPHS.pin, class: `mark-${mark.kind}` }, svg("title", null, mark.text)))));
  const span = Math.round((until - from) / 60);
  return h("figure", { class: "plot" },
    h("figcaption", { class: "quiet" }, `${bytes(last)} in use${most ? ` of ${bytes(most)}` : ""}, last ${span} min`),
    plot, glyphs,
    h("div", { class: "ends quiet", "aria-hidden": "true" }, h("span", null, clock(from)), h("span", null, clock(until))));
}
