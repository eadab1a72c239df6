// The canvas at every step: it follows the stream until somebody takes the slider, and can be played again.

import { bytes, element } from "/static/lens/lens.js";

const FRAME_MS = 140;

export class Film {
  constructor({ canvas, step, play, status }) {
    Object.assign(this, { canvas, slider: step, play, status, frames: [], at: -1, follows: true, timer: null });
    step.addEventListener("input", () => {
      this.pause();
      this.follows = Number(step.value) === this.frames.length - 1;
      this.show(Number(step.value));
    });
    play.addEventListener("click", () => (this.timer === null ? this.run() : this.pause()));
  }

  begin() {
    this.pause();
    this.frames = [];
    this.at = -1;
    this.follows = true;
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

  run() {
    if (!this.frames.length) return;
    this.play.textContent = "Pause";
    if (this.at >= this.frames.length - 1) this.show(0);
    this.timer = setInterval(() => {
      if (this.at >= this.frames.length - 1) this.pause();
      else this.show(this.at + 1);
    }, FRAME_MS);
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
    const cells = canvas.map((each, position) => {
      const cell = element("span", { className: `cell ${each.state}${fresh.has(position) ? " new" : ""}` }, each.text ?? "·");
      cell.style.setProperty("--sure", (each.confidence ?? 0).toFixed(3));
      cell.title = each.state === "masked" ? "mask" : `${each.state}, ${(100 * each.confidence).toFixed(1)} % sure`;
      return cell;
    });
    this.canvas.replaceChildren(...cells);
    this.slider.value = index;
    this.tell();
  }

  tell() {
    const frame = this.frames[this.at];
    const read = { prompt: "the prompt was read", response: "the response was recomputed", partial: "some rows were recomputed" };
    const what = read[frame.refresh] ?? "everything was recomputed";
    const cache = frame.cache_bytes ? `; cache ${bytes(frame.cache_bytes)} of ${bytes(frame.full_cache_bytes)}` : "";
    const host = frame.host_bytes ? `, ${bytes(frame.host_bytes)} in host memory` : "";
    const said = `Step ${frame.step + 1} of ${this.frames.length}: ${what}, ${frame.masks_left} masks left${cache}${host}.`;
    this.status.textContent = said;
    this.slider.setAttribute("aria-valuetext", said);
    const text = frame.canvas.map((each) => (each.state === "committed" ? each.text : "…")).join(" ");
    this.canvas.setAttribute("aria-label", `Response after step ${frame.step + 1}: ${text}`);
  }
}
