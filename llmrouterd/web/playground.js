// Playground: why a prompt would go where, and what one or two models answer.

import { chat, clientKey, clientKeyNeeded, get, post, setClientKey } from "./api.js";
import { decisionView, headline } from "./decision.js";
import { button, field, h, number, seconds, setOptions, show } from "./dom.js";

export function playground(panel) {
  const prompt = h("textarea", { rows: 6, spellcheck: "false",
    placeholder: "A prompt, or a whole request as JSON: {\"messages\": [...], \"tools\": [...]}" });
  const said = h("p", { role: "status", class: "quiet" });
  const result = h("div", { class: "result" });
  const first = h("select"), second = h("select");
  const outputs = h("div", { class: "outputs" });
  const key = h("input", { type: "password", autocomplete: "off", value: clientKey(), onchange: () => setClientKey(key.value.trim()) });
  const keyField = field("Client key", key, h("p", { class: "quiet" }, "This router wants a client's key for chats; it is kept in this tab only."));
  const explain = button("Explain", explainPrompt, { class: "primary" });
  const sending = button("Send", sendPrompt), stop = button("Stop", () => stopping?.abort());
  keyField.hidden = stop.disabled = true;
  let stopping = null;
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) explainPrompt();
  });
  panel.append(
    h("section", { class: "card stack" }, field("Prompt or request", prompt), h("div", { class: "line" }, explain, said)),
    h("section", { class: "card stack" }, h("h2", null, "Send it"),
      h("div", { class: "line" }, field("To", first), field("And beside it", second), sending, stop), keyField, outputs),
    result);

  // The request as it is sent, and what a person should know of it; throws an Error for one.
  function read() {
    const text = prompt.value.trim();
    if (!text) throw new Error("Type a prompt first.");
    const plain = { messages: [{ role: "user", content: text }] };
    if (!text.startsWith("{")) return [plain, ""];
    try {
      return [JSON.parse(text), ""];
    } catch (error) {
      return [plain, `Taken as a prompt, since it is no JSON: ${error.message}`];
    }
  }

  const tell = (text, bad = false) => {
    said.className = bad ? "bad" : "quiet";
    said.textContent = text;
  };

  async function explainPrompt() {
    try {
      const [asked, note] = read();
      const found = await post("admin/explain", asked);
      const whyNot = (model) => post(`admin/explain?why_not=${encodeURIComponent(model)}`, asked);
      show(result, h("section", { class: "card" }, h("h2", null, "The decision"), headline(found.words), decisionView(found, whyNot),
        h("details", null, h("summary", null, "In words"), h("pre", { class: "words" }, found.words))));
      tell(`${found.model || "No model"} would answer. Nothing was sent. ${note}`);
      if ([...first.options].some((option) => option.value === found.model)) first.value = found.model;
    } catch (error) {
      tell(error.message, true);
    }
  }

  async function sendPrompt() {
    let asked, note;
    try {
      [asked, note] = read();
    } catch (error) {
      tell(error.message, true);
      return;
    }
    tell(note);
    stopping = new AbortController();
    sending.disabled = true;
    stop.disabled = false;
    const columns = [first.value, ...(second.value ? [second.value] : [])].map(output);
    outputs.replaceChildren(...columns.map((column) => column.element));
    await Promise.all(columns.map((column) => column.run(asked, stopping.signal)));
    sending.disabled = false;
    stop.disabled = true;
    keyField.hidden = !columns.some((column) => column.needsKey()) && keyField.hidden;
  }

  async function load() {
    try {
      const ids = (await get("admin/models")).models.filter((model) => model.enabled).map((model) => [model.id, model.id]);
      setOptions(first, [["*", "the router's choice"], ...ids]);
      setOptions(second, [["", "no other"], ["*", "the router's choice"], ...ids]);
      keyField.hidden = !(await clientKeyNeeded());
    } catch (error) {
      tell(error.message, true);
    }
  }

  return { open: load };
}

// One answer as it comes. wanted: a model's id, "*" for the router's choice.
function output(wanted) {
  const title = h("h3", null, wanted === "*" ? "the router's choice" : wanted);
  const thinking = h("p", { class: "thinking quiet" }), text = h("p", { class: "answer" });
  const figures = h("p", { class: "quiet", role: "status" }, "waiting");
  let refused = false;

  async function run(asked, signal) {
    const started = performance.now();
    const since = () => (performance.now() - started) / 1000;
    let firstAt = null, usage = null;
    const { model, ...rest } = asked;
    try {
      await chat(wanted === "*" ? (model ? asked : rest) : { ...rest, model: wanted }, signal, {
        start(headers) {
          const found = [headers.get("x-router-backend"), headers.get("x-router-model")];
          if (wanted === "*" && found[1]) title.textContent = found.join("/");
          figures.textContent = "reading the prompt";
        },
        text(part, isThinking) {
          firstAt ??= since();
          (isThinking ? thinking : text).append(part);
          figures.textContent = `writing, first token after ${seconds(firstAt)}`;
        },
        usage(found) {
          usage = found;
        },
      });
      const pace = usage?.completion_tokens && firstAt !== null ? usage.completion_tokens / Math.max(0.001, since() - firstAt) : null;
      figures.textContent = [`done in ${seconds(since())}`, firstAt !== null && `first token after ${seconds(firstAt)}`,
        usage?.completion_tokens && `${number(usage.completion_tokens)} tokens`, pace && `${number(pace, 1)} tokens/s`].filter(Boolean).join(" · ");
    } catch (error) {
      const stopped = error.name === "AbortError";
      figures.className = stopped ? "quiet" : "bad";
      figures.textContent = stopped ? `stopped after ${seconds(since())}` : error.message;
      refused = error.status === 401;
    }
  }

  return { element: h("article", { class: "output" }, title, thinking, text, figures), run, needsKey: () => refused };
}
