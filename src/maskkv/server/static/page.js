// The page: a document and a question in, the film of the answer and the lens out.

import { element, followLens } from "/static/lens/lens.js";
import { Film } from "/static/film.js";
import { Problem, events, get } from "/static/stream.js";

const byId = (id) => document.getElementById(id);
const film = new Film({ canvas: byId("canvas"), step: byId("step"), play: byId("play"), status: byId("status") });
const THEMES = ["system", "light", "dark"];
const BLOCK = 8;
let about = null;
let running = null;
let expected = null;

function key() {
  return byId("key").value;
}

function tell(error) {
  if (error.name === "AbortError") return;
  if (!(error instanceof Problem)) throw error;
  byId("problem").textContent = error.message;
  if (error.status === 401) {
    byId("key-control").hidden = false;
    byId("key").focus();
  }
}

async function learn() {
  about = await get("/api/about", key());
  byId("model").textContent = about.model;
  byId("policy").replaceChildren(...about.policies.map(({ name }) => element("option", { value: name }, name)));
  byId("policy").value = about.policy;
  if (!about.bundled && Number.isInteger(about.budget)) byId("budget").value = about.budget;
  byId("example").replaceChildren(...about.examples.map((name) => element("option", { value: name }, name)));
  byId("example").value = "multi-key";
  evicts();
}

function evicts() {
  const chosen = about.policies.find(({ name }) => name === byId("policy").value);
  byId("budget").disabled = !chosen.evicts;
  return chosen.evicts;
}

function request() {
  const text = byId("document").value.trimEnd();
  const question = byId("question").value.trim();
  const body = {
    messages: [{ role: "user", content: question ? `${text}\n\n${question}` : text }],
    max_tokens: Number(byId("length").value),
    block_length: BLOCK,
    policy: byId("policy").value,
  };
  if (evicts()) body.budget = Number(byId("budget").value);
  return body;
}

async function answer(body, signal) {
  film.begin();
  byId("film").hidden = false;
  byId("answer").textContent = "";
  let text = "";
  for await (const event of events("/v1/chat/completions", { ...body, stream: true, diffusing: true }, key(), signal)) {
    text += event.choices[0]?.delta.content ?? "";
    if (event.maskkv?.event === "start") body.seed = event.maskkv.seed;
    if (event.maskkv?.event === "step") film.add(event.maskkv);
  }
  byId("answer").textContent = text;
  byId("expected").textContent = expected === null ? "" : `Expected: ${expected}`;
}

async function look(body, signal) {
  const told = events("/api/lens", { ...body, stream: true }, key(), signal);
  await followLens(byId("lens"), told, (said) => { byId("looking").textContent = said; });
}

async function go(event) {
  event.preventDefault();
  byId("problem").textContent = "";
  byId("lens").replaceChildren();
  byId("expected").textContent = "";
  if (!byId("document").value.trim()) {
    byId("problem").textContent = "there is no document: paste one, open a file, or take an example";
    byId("document").focus();
    return;
  }
  running = new AbortController();
  busy(true);
  try {
    if (about === null) await learn();
    const body = request();
    await answer(body, running.signal);
    if (evicts()) await look(body, running.signal);
  } catch (error) {
    tell(error);
  } finally {
    busy(false);
  }
}

function busy(yes) {
  byId("go").disabled = yes;
  byId("stop").disabled = !yes;
}

async function take() {
  byId("problem").textContent = "";
  try {
    if (about === null) await learn();
    const seed = Math.floor(Math.random() * 1e6);
    const made = await get(`/api/example?task=${encodeURIComponent(byId("example").value)}&length=512&seed=${seed}`, key());
    byId("document").value = made.document;
    byId("question").value = made.question;
    byId("length").value = Math.ceil(made.gen_length / BLOCK) * BLOCK;
    expected = made.answer;
  } catch (error) {
    tell(error);
  }
}

function theme(name) {
  byId("theme").textContent = `Theme: ${name}`;
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
}

byId("ask").addEventListener("submit", go);
byId("ask").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !byId("go").disabled) byId("ask").requestSubmit();
});
byId("stop").addEventListener("click", () => running?.abort());
byId("take").addEventListener("click", take);
byId("policy").addEventListener("change", evicts);
byId("key").addEventListener("change", () => learn().catch(tell));
for (const id of ["document", "question"]) byId(id).addEventListener("input", () => { expected = null; });
byId("file").addEventListener("change", async () => {
  const file = byId("file").files[0];
  if (!file) return;
  try {
    byId("document").value = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
    expected = null;
  } catch {
    byId("problem").textContent = `${file.name} is not UTF-8 text: save it as UTF-8`;
  }
});
byId("theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? "system";
  theme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
});
learn().catch(tell);
