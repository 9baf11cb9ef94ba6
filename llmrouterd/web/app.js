// The frame: tabs by the address's hash and by arrow keys, the admin key, the stream of events.

import { follow, onKeyNeeded } from "./api.js";
import { live } from "./live.js";
import { models } from "./models.js";
import { playground } from "./playground.js";
import { policy } from "./policy.js";

const byId = (id) => document.getElementById(id);
const tabs = [...document.querySelectorAll("[role=tab]")];
const makers = { live, models, playground, policy };
const views = {};
let shown = "";

function open(name, focus = false) {
  for (const tab of tabs) {
    const chosen = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).hidden = !chosen;
    if (chosen && focus) tab.focus();
  }
  views[name] ||= makers[name](byId(`panel-${name}`));
  if (shown !== name) views[name].open?.();
  shown = name;
  document.title = `${byId(`tab-${name}`).textContent} · llmrouterd`;
  if (location.hash !== `#${name}`) history.replaceState(null, "", `#${name}`);
}

function route() {
  const name = location.hash.slice(1);
  open(name in makers ? name : "live");
}

for (const [place, tab] of tabs.entries()) {
  tab.addEventListener("click", () => open(tab.id.slice(4)));
  tab.addEventListener("keydown", (event) => {
    const last = tabs.length - 1;
    const next = { ArrowRight: place === last ? 0 : place + 1, ArrowLeft: place === 0 ? last : place - 1,
      Home: 0, End: last }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    open(tabs[next].id.slice(4), true);
  });
}
window.addEventListener("hashchange", route);

onKeyNeeded((message) => new Promise((resolve) => {
  const dialog = byId("key"), input = byId("key-text");
  byId("key-error").textContent = message;
  input.value = "";
  dialog.querySelector("form").onsubmit = (event) => {
    event.preventDefault();
    dialog.onclose = null;
    dialog.close();
    resolve(input.value.trim());
  };
  // Nothing can be shown without a key, and a browser lets Escape close any dialog in the end.
  dialog.onclose = () => dialog.showModal();
  dialog.showModal();
  input.focus();
}));

const connection = byId("connection");
route();
views.live ||= live(byId("panel-live")); // it keeps what happens while another tab is shown
follow(
  (name, data) => {
    for (const view of Object.values(views)) view.event?.(name, data);
  },
  (state, message) => {
    connection.dataset.state = state;
    if (state === "open") views.live.connected();
    connection.textContent = state === "open" ? "live" : `not connected: ${message}`;
  },
);
