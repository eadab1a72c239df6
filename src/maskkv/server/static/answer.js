// The answer, large: what is decided, guessed and masked of it, and a line that says how it stands.

import { element } from "/static/lens/lens.js";
import * as endings from "/static/endings.js";

const MASK = "·";
const END = "∎";

export class Answer {
  // `parts` are elements: panel, title, text, state, progress, verdict, spoken, tools.
  constructor(parts) {
    Object.assign(this, { parts, ends: new Set(), frame: null, length: 0, steps: 0, gap: "", timer: null, begun: false });
  }

  // A request was sent; an answer that is there stays until the next one begins.
  sent() {
    this.begun = false;
    if (this.frame) this.parts.title.textContent = "Earlier answer";
    this.parts.panel.classList.toggle("earlier", this.frame !== null);
    this.wait(endings.WAITING);
  }

  // `ends` are the texts of the tokens that end an answer.
  begin({ prompt, prompt_length: read, gen_length: length }, ends) {
    Object.assign(this, { begun: true, frame: null, length, steps: 0, ends: new Set(ends) });
    // A word-level tokenizer leaves the blanks between tokens out of them.
    this.gap = prompt.some((piece) => /\s/.test(piece)) ? "" : " ";
    this.parts.panel.classList.remove("earlier");
    this.parts.title.textContent = "Answer";
    this.parts.text.replaceChildren(element("span", { className: "masked" }, Array(length).fill(MASK).join(" ")));
    this.judge(null);
    this.parts.tools.hidden = true;
    this.wait(endings.reading(read));
  }

  step(frame) {
    this.frame = frame;
    this.steps += 1;
    if (this.steps === 1) this.say("The answer condenses.");
    this.parts.progress.textContent = endings.progress(this.so());
    this.parts.text.replaceChildren(...this.spans());
  }

  complete(text, reason, expected) {
    this.say(endings.complete({ ...this.so(), reason }));
    const nothing = element("span", { className: "nothing" }, "(no words: the model ended the answer at once)");
    this.parts.text.replaceChildren(text ? element("span", { className: "committed" }, text) : nothing);
    const verdict = endings.verdict(text, expected);
    this.judge(verdict);
    this.parts.tools.hidden = false;
    this.parts.spoken.textContent = `Answer: ${text || "no words"}. ${verdict?.text ?? ""}`;
  }

  // It ended before it was complete; what there is of it stays.
  cut(error) {
    const earlier = !this.begun && this.frame ? " What is shown is the earlier answer." : "";
    this.say(endings.cut(error, this.begun ? this.so() : null) + earlier);
    this.parts.tools.hidden = this.frame === null;
  }

  so() {
    const decided = this.frame ? this.frame.canvas.filter(({ state }) => state === "committed").length : 0;
    return { steps: this.steps, decided, length: this.length };
  }

  spans() {
    const runs = [];
    for (const { state, text } of this.frame.canvas) {
      const ends = this.ends.has(text);
      if (ends && state === "committed") break; // What follows is not read.
      const shown = state === "masked" ? MASK : ends ? END : text;
      if (runs.at(-1)?.state === state) runs.at(-1).texts.push(shown);
      else runs.push({ state, texts: [shown] });
    }
    return runs.flatMap(({ state, texts }) =>
      [element("span", { className: state }, texts.join(state === "masked" ? " " : this.gap)), " "]);
  }

  judge(verdict) {
    this.parts.verdict.textContent = verdict?.text ?? "";
    this.parts.verdict.className = verdict ? (verdict.right ? "verdict right" : "verdict wrong") : "verdict";
  }

  // Say what is waited for, and count the seconds where nobody reads them aloud.
  wait(what) {
    this.say(what);
    const since = Date.now();
    this.timer = setInterval(() => {
      this.parts.progress.textContent = `${Math.round((Date.now() - since) / 1000)} s`;
    }, 1000);
  }

  say(text) {
    clearInterval(this.timer);
    this.parts.state.textContent = text;
    this.parts.progress.textContent = "";
  }
}
