// The daemon's API: JSON, server-sent events by fetch (EventSource cannot send a key), chats.

const ADMIN = "llmrouterd.admin", CLIENT = "llmrouterd.client";
// A stream says every fifteen seconds that it lives; one that is silent for so long (ms) hangs, also before it begins.
const MOST_SILENCE = 40000;
let asking = null;
let askKey = async () => "";

// Who asks the person for the admin key: (message) -> promise of the key.
export function onKeyNeeded(ask) {
  askKey = ask;
}

export const clientKey = () => sessionStorage.getItem(CLIENT) || "";

export function setClientKey(key) {
  if (key) sessionStorage.setItem(CLIENT, key);
  else sessionStorage.removeItem(CLIENT);
}

export class ApiError extends Error {
  constructor(status, data) {
    super(data?.error?.message || `The router answered with status ${status}.`);
    this.status = status;
    this.data = data;
  }
}

async function failure(response) {
  let data = null;
  try {
    data = await response.json();
  } catch {
    // An answer without JSON has its status to tell.
  }
  return new ApiError(response.status, data);
}

// A response of an admin endpoint that is a success; asks for the key where one is wanted.
async function admin(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem(ADMIN);
    const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
    const response = await fetch(path, { ...options, headers, cache: "no-store" });
    if (response.ok) return response;
    const error = await failure(response);
    if (response.status !== 401) throw error;
    // Another call may have brought a key meanwhile.
    if (sessionStorage.getItem(ADMIN) !== key) continue;
    asking ||= askKey(key ? error.message : "").finally(() => (asking = null));
    sessionStorage.setItem(ADMIN, await asking);
  }
}

export const get = async (path) => (await admin(path)).json();

export async function send(method, path, body, type = "application/json", headers = {}) {
  const response = await admin(path, { method, body, headers: { ...headers, "Content-Type": type } });
  return response.json();
}

export const post = (path, data) => send("POST", path, JSON.stringify(data));

// Calls onEvent(name, data text) for each event of a stream until its end, and onWait before each wait for more.
async function readEvents(response, onEvent, onWait = () => {}) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    onWait();
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (text + value).split(/\r\n\r\n|\n\n|\r\r/);
    text = blocks.pop();
    for (const block of blocks) {
      let name = "message";
      const data = [];
      for (const line of block.split(/\r\n|\n|\r/)) {
        if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
        else if (line.startsWith("event:")) name = line.slice(6).trim();
      }
      if (data.length) onEvent(name, data.join("\n"));
    }
  }
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// Follow /admin/events for ever. onEvent(name, data); onState("open" | "lost", message).
export async function follow(onEvent, onState) {
  for (let wait = 500; ; wait = Math.min(wait * 2, 10000)) {
    const hung = new AbortController();
    let alarm;
    const arm = () => {
      clearTimeout(alarm);
      // While a person is asked for the key, it is not the router that is silent.
      alarm = setTimeout(() => (asking ? arm() : hung.abort()), MOST_SILENCE);
    };
    try {
      arm();
      const response = await admin("admin/events", { signal: hung.signal });
      onState("open", "");
      wait = 500;
      await readEvents(response, (name, data) => onEvent(name, JSON.parse(data)), arm);
      onState("lost", "the stream has ended");
    } catch (error) {
      onState("lost", error instanceof ApiError ? error.message : "the router cannot be reached");
    } finally {
      clearTimeout(alarm);
    }
    await pause(wait);
  }
}

function asClient(options = {}) {
  const key = clientKey();
  return key ? { ...options, headers: { ...options.headers, Authorization: `Bearer ${key}` } } : options;
}

// Whether /v1 wants a client key other than the one that is known.
export async function clientKeyNeeded() {
  return (await fetch("v1/models", asClient({ cache: "no-store" }))).status === 401;
}

// Stream a chat. on.start(headers), on.text(text, isThinking), on.usage(usage).
export async function chat(body, signal, on) {
  const response = await fetch("v1/chat/completions", asClient({
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  }));
  if (!response.ok) throw await failure(response);
  on.start(response.headers);
  await readEvents(response, (_, text) => {
    if (text === "[DONE]") return;
    const data = JSON.parse(text);
    if (data.error) throw new ApiError(502, data);
    const delta = data.choices?.[0]?.delta ?? {};
    const thinking = delta.reasoning_content ?? delta.reasoning;
    if (thinking) on.text(thinking, true);
    if (delta.content) on.text(delta.content, false);
    if (delta.tool_calls) on.text(JSON.stringify(delta.tool_calls), true);
    if (data.usage) on.usage(data.usage);
  });
}
