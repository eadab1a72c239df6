// The canvas at every step: it follows the stream until somebody takes the slider, and can be played again.

import { bytes, element } from "/static/lens/lens.js";

const READ = { prompt: "the prompt was read", response: "the response was recomputed", partial: "some rows were recomputed" };
const FRAME_MS = 280;

export class Film {
  // Elements: canvas, the slider `step`, the button `play`, the choice `speed` (times the usual one), and `status`.
  constructor({ canvas, step, play, speed, status }) {
    Object.assign(this, { canvas, slider: step, play, speed, status, timer: null });
    this.begin();
    step.addEventListener("input", () => {
      if (!this.frames.length) return;
      this.pause();
      this.follows = Number(step.value) === this.frames.length - 1;
      this.show(Number(step.value));
    });
    play.addEventListener("click", () => (this.timer === null ? this.run() : this.pause()));
    speed.addEventListener("change", () => {
      if (this.timer !== null) this.run();
    });
  }

  // `ends` are the texts of the tokens that end an answer.
  begin(ends = []) {
    this.pause();
    Object.assign(this, { ends: new Set(ends), frames: [], cells: [], at: -1, follows: true, over: false, complete: false });
    this.slider.max = 0;
    this.slider.value = 0;
    this.canvas.replaceChildren();
    this.status.textContent = "";
  }

  add(frame) {
    this.frames.push(frame);
    this.slider.max = this.frames.length - 1;
    if (this.follows) this.show(this.frames.length - 1);
    else this.tell();
  }

  // No more frames will come; of a complete answer the masks left are behind its end.
  end(complete) {
    this.over = true;
    this.complete = complete;
    if (this.frames.length) this.tell();
  }

  run() {
    if (!this.frames.length) return;
    this.pause();
    this.play.textContent = "Pause";
    if (this.at >= this.frames.length - 1) this.show(0);
    this.timer = setInterval(() => {
      if (this.at >= this.frames.length - 1) this.pause();
      else this.show(this.at + 1);
    }, FRAME_MS / Number(this.speed.value));
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    this.play.textContent = "Play";
  }

  show(index) {
    this.at = index;
    const { canvas, committed } = this.frames[index];
    const fresh = new Set(committed.map((each) => each.position));
    while (this.cells.length < canvas.length) {
      this.cells.push(element("span"));
      this.canvas.append(this.cells.at(-1));
    }
    canvas.forEach((each, position) => this.paint(this.cells[position], each, fresh.has(position)));
    this.slider.value = index;
    this.tell();
  }

  tell() {
    const frame = this.frames[this.at];
    const what = READ[frame.refresh] ?? "everything was recomputed";
    const cache = frame.cache_bytes ? `; cache ${bytes(frame.cache_bytes)} of ${bytes(frame.full_cache_bytes)}` : "";
    const host = frame.host_bytes ? `, ${bytes(frame.host_bytes)} in host memory` : "";
    const all = `${this.frames.length}${this.over ? "" : " so far"}`;
    const masks = frame.canvas.filter(({ state }) => state !== "committed").length;
    const last = this.complete && this.at === this.frames.length - 1;
    const left = last && masks ? `${masks} masks behind the end are not needed` : `${masks} masks left`;
    const said = `Step ${frame.step + 1} of ${all}: ${what}, ${left}${cache}${host}.`;
    this.status.textContent = said;
    this.slider.setAttribute("aria-valuetext", said);
    const text = frame.canvas.map((each) => (each.state === "committed" ? each.text : "…")).join(" ");
    this.canvas.setAttribute("aria-label", `Response after step ${frame.step + 1}: ${text}`);
  }

  // Most cells are as they were a step before, and are left alone.
  paint(cell, { state, text, confidence }, fresh) {
    const end = this.ends.has(text);
    const shown = end ? "∎" : text ?? "·";
    const className = `cell ${state}${fresh ? " new" : ""}`;
    const what = `${state}, ${(100 * confidence).toFixed(1)} % sure${end ? ": the answer ends here" : ""}`;
    const title = state === "masked" ? "mask" : what;
    if (cell.className === className && cell.title === title && cell.textContent === shown) return;
    Object.assign(cell, { className, title, textContent: shown });
    cell.style.setProperty("--sure", (confidence ?? 0).toFixed(3));
  }
}
