// The form: a document, a question and how to answer it; filled in by the server, by examples and by what is remembered.

import { element } from "/static/lens/lens.js";
import { LONGEST, recall, remember } from "/static/remembered.js";
import { Settings } from "/static/settings.js";
import { limits, read, size } from "/static/source.js";
import { Problem, get } from "/static/stream.js";

const byId = (id) => document.getElementById(id);
const KEPT = ["document", "question", "example", "policy", "budget", "length", "speed"];

export class Form {
  constructor() {
    // What the server says of itself, and the answer that an example expects.
    Object.assign(this, { about: null, restored: null, expected: null, saving: null });
    this.settings = new Settings(byId("settings"), byId("fields"), byId("reset"));
    byId("policy").addEventListener("change", () => this.evicts());
    for (const id of ["document", "question"]) byId(id).addEventListener("input", () => this.expect(null));
    for (const name of ["input", "change"]) document.addEventListener(name, () => this.saveSoon());
    addEventListener("pagehide", () => this.save());
  }

  get key() {
    return byId("key").value;
  }

  // Ask the server what it is, and fill in what may be chosen; what somebody has chosen stays.
  async learn() {
    const about = await get("/api/about", this.key);
    byId("problem").textContent = "";
    if (this.about !== null) return this.restored;
    this.about = about;
    byId("model").textContent = about.model;
    byId("limits").textContent = limits(about);
    const options = (names) => names.map((name) => element("option", { value: name }, name));
    byId("policy").replaceChildren(...options(about.policies.map(({ name }) => name)));
    byId("policy").value = about.policy;
    byId("budget").value = about.bundled ? about.first_example.budget : about.budget ?? "";
    byId("example").replaceChildren(...options(about.examples));
    byId("example").value = about.first_example.task;
    this.settings.offer(about);
    this.restored = this.restore(recall());
    return this.restored;
  }

  async restore(texts) {
    for (const input of this.inputs()) {
      const value = texts[input.id];
      const possible = input.tagName !== "SELECT" || [...input.options].some((option) => option.value === value);
      if (value !== undefined && possible) input.value = value;
    }
    this.expect(texts.expected ?? null);
    this.settings.tell();
    this.evicts();
    if ("document" in texts || byId("document").value) return;
    if (texts.left) byId("memory-hint").textContent = "The document was too long to be remembered: open it again.";
    else await this.take(this.about.first_example);
  }

  inputs() {
    return [...KEPT.map(byId), ...this.settings.inputs()];
  }

  saveSoon() {
    clearTimeout(this.saving);
    this.saving = setTimeout(() => this.save(), 300);
  }

  save() {
    clearTimeout(this.saving);
    if (this.about === null) return;
    const texts = Object.fromEntries(this.inputs().map((input) => [input.id, input.value]));
    if (this.expected !== null) texts.expected = this.expected;
    const whole = remember({ ...texts, theme: document.documentElement.dataset.theme ?? "system" });
    const why = byId("document").value.length > LONGEST
      ? `A reload forgets it: it has more than ${LONGEST.toLocaleString("en")} characters.`
      : "This browser remembers nothing for a reload.";
    byId("memory-hint").textContent = whole ? "" : why;
  }

  evicts() {
    const chosen = this.about.policies.find(({ name }) => name === byId("policy").value);
    byId("budget").disabled = !chosen.evicts;
    byId("policy-hint").textContent = chosen.about;
    return chosen.evicts;
  }

  expect(answer) {
    this.expected = answer;
    byId("size").textContent = size(byId("document").value);
    byId("expects").textContent = answer === null ? "" : "The right answer of this example is known: the page compares.";
  }

  // Returns the body of a request. Throws a RangeError that says what is missing or no number.
  request() {
    const text = byId("document").value.trimEnd();
    const question = byId("question").value.trim();
    if (!text) {
      byId("document").focus();
      throw new RangeError("there is no document: paste one, open a file, or take an example");
    }
    if (byId("length").validity.badInput) throw new RangeError("response, tokens: expected a number");
    const body = { messages: [{ role: "user", content: question ? `${text}\n\n${question}` : text }], policy: byId("policy").value };
    const budget = byId("budget").value.trim();
    if (this.evicts() && budget) body.budget = /^\d+$/.test(budget) ? Number(budget) : budget;
    if (byId("length").value) body.max_tokens = Number(byId("length").value);
    return { ...body, ...this.settings.chosen(this.evicts()) };
  }

  async take({ task, length, seed }) {
    const made = await get(`/api/example?task=${encodeURIComponent(task)}&length=${length}&seed=${seed}`, this.key);
    byId("length").value = made.gen_length;
    byId("question").value = made.question;
    this.fill(made.document, made.answer);
  }

  async takeAnother() {
    await this.take({ ...this.about.first_example, task: byId("example").value, seed: Math.floor(Math.random() * 1e6) });
  }

  async open(files) {
    if (!files.length) return;
    if (files.length > 1) throw new Problem("refused", `${files.length} files: this page takes one at a time`);
    this.fill(await read(files[0], this.about.max_body_bytes), null);
  }

  fill(text, answer) {
    byId("document").value = text;
    this.expect(answer);
    this.save();
  }
}
