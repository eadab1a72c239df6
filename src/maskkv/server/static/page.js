// The page: a document and a question in, the answer, its film and the lens out.

import { followLens } from "/static/lens/lens.js";
import { Answer } from "/static/answer.js";
import { copy, report } from "/static/download.js";
import { Film } from "/static/film.js";
import { Form } from "/static/form.js";
import { forget, recall } from "/static/remembered.js";
import { dropped } from "/static/source.js";
import { Problem, events } from "/static/stream.js";

const byId = (id) => document.getElementById(id);
const THEMES = ["system", "light", "dark"];
const ONE_COLUMN = "(max-width: 60rem)";
const form = new Form();
const film = new Film({ canvas: byId("canvas"), step: byId("step"), play: byId("play"), speed: byId("speed"), status: byId("status") });
const answer = new Answer({
  panel: byId("answering"), title: byId("answer-heading"), text: byId("answer"), state: byId("state"),
  progress: byId("progress"), verdict: byId("verdict"), spoken: byId("spoken"), tools: byId("tools"),
});
let running = null;
let seen = null;

function tell(error) {
  if (error.name === "AbortError") return;
  if (error.status === 401) {
    byId("problem").textContent = form.key ? "The server does not accept this API key." : "This server needs an API key.";
    byId("key-control").hidden = false;
    byId("key").focus();
    return;
  }
  byId("problem").textContent = error.message;
  if (!(error instanceof Problem || error instanceof RangeError)) throw error;
}

function begin(start) {
  answer.begin(start, form.about.ends);
  film.begin(form.about.ends);
  seen = null;
  byId("lens").replaceChildren();
  byId("download").disabled = true;
  byId("tools-said").textContent = "";
  byId("film").hidden = false;
  byId("words").open = false;
  if (matchMedia(ONE_COLUMN).matches) byId("answering").scrollIntoView();
}

async function ask(body, signal) {
  const right = form.expected;
  let text = "";
  let reason = null;
  answer.sent();
  try {
    for await (const event of events("/v1/chat/completions", { ...body, stream: true, diffusing: true }, form.key, signal)) {
      const [choice] = event.choices;
      text += choice?.delta.content ?? "";
      reason = choice?.finish_reason ?? reason;
      if (event.maskkv?.event === "start") {
        body.seed = event.maskkv.seed;
        begin(event.maskkv);
      }
      if (event.maskkv?.event === "step") {
        answer.step(event.maskkv);
        film.add(event.maskkv);
      }
    }
    answer.complete(text, reason, right);
    film.end(true);
  } catch (error) {
    answer.cut(error);
    if (answer.begun) film.end(false);
    throw error;
  }
}

async function look(body, signal) {
  try {
    const told = events("/api/lens", { ...body, stream: true }, form.key, signal);
    await followLens(byId("lens"), told, (said) => { byId("looking").textContent = said; }, (report) => {
      seen = report;
      byId("download").disabled = false;
    });
  } catch (error) {
    const why = error.name === "AbortError" ? "you stopped it." : error.message;
    byId("looking").textContent = `The answer is complete, but not all of what was kept is shown: ${why}`;
    if (error.status === 401) throw error;
  }
}

async function go(event) {
  event.preventDefault();
  if (running) return;
  byId("problem").textContent = "";
  byId("looking").textContent = "";
  running = new AbortController();
  busy(true);
  try {
    if (form.about === null) await form.learn();
    const body = form.request();
    const evicts = form.evicts();
    await ask(body, running.signal);
    if (evicts) await look(body, running.signal);
    else byId("looking").textContent = `Policy ${body.policy} evicts nothing, so there is no view of what is kept.`;
  } catch (error) {
    tell(error);
  } finally {
    running = null;
    busy(false);
  }
}

function busy(yes) {
  byId("go").disabled = yes;
  byId("stop").disabled = !yes;
}

// Do what a button asks for, and say what went wrong.
async function attempt(work) {
  byId("problem").textContent = "";
  try {
    if (form.about === null) await form.learn();
    await work();
  } catch (error) {
    tell(error);
  }
}

async function download() {
  await report(seen, `${form.about.model.replace(/[^\w.-]+/g, "-")}-kept.html`);
  byId("tools-said").textContent = "Saved as a file that needs no server.";
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
byId("take").addEventListener("click", () => attempt(() => form.takeAnother()));
byId("key").addEventListener("change", () => form.learn().catch(tell));
byId("file").addEventListener("change", () => attempt(() => form.open(byId("file").files)));
dropped(byId("document"), (files) => attempt(() => form.open(files)));
byId("copy").addEventListener("click", async () => { byId("tools-said").textContent = await copy(byId("answer")); });
byId("download").addEventListener("click", () => attempt(download));
byId("forget").addEventListener("click", () => {
  form.about = null; // Nothing is saved any more.
  forget();
  location.reload();
});
byId("theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? "system";
  theme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
  form.save();
});
theme(THEMES.includes(recall().theme) ? recall().theme : "system");
form.learn().catch(tell);
