// The film of an answer whose evicted pairs come back: what is kept after each step, what came back, and for which row.

import { control, element, unpacked } from "./parts.js";
import { portion } from "./shades.js";

const READ = { prompt: "the prompt was read", response: "the response was recomputed", partial: "some rows were recomputed" };
const MOST_NAMED = 6;

export class Film {
  constructor({ changes, size, frames, gen_length }, layers, heads) {
    const numbers = unpacked(changes, size)[Symbol.iterator]();
    const next = () => numbers.next().value;
    const several = (count) => Array.from({ length: count }, next);
    this.heads = heads;
    this.length = gen_length;
    this.first = Array.from({ length: layers * heads }, () => several(next()));
    this.frames = frames.map((frame) => ({ ...frame, changes: Array.from({ length: next() }, () => {
      const [segment, came, went] = several(3);
      const positions = several(came);
      const rows = frame.refresh === "prompt" ? null : several(came).map((row) => row - 1);
      return { segment, came: positions, rows, went: several(went) };
    }) }));
    this.decided = new Map(this.frames.flatMap(({ positions, pieces }, step) =>
      positions.map((position, index) => [position, { step, piece: pieces[index].trim() }])));
  }

  // Count for each of so many tokens the chosen segments that keep it after a step.
  holders(step, chosen, tokens) {
    const held = new Uint32Array(tokens);
    this.first.forEach((positions, segment) => {
      if (chosen.has(segment)) for (const position of positions) held[position] += 1;
    });
    for (const { changes } of this.frames.slice(0, step + 1)) {
      for (const { segment, came, went } of changes) {
        if (!chosen.has(segment)) continue;
        for (const position of came) held[position] += 1;
        for (const position of went) held[position] -= 1;
      }
    }
    return held;
  }

  // For each token that came back to chosen segments in a step: the rows that asked, each with the segments it asked in.
  recalled(step, chosen) {
    const back = new Map();
    for (const { segment, came, rows } of this.frames[step].changes) {
      if (rows === null || !chosen.has(segment)) continue;
      came.forEach((position, index) => {
        if (!back.has(position)) back.set(position, new Map());
        const asked = back.get(position);
        asked.set(rows[index], [...(asked.get(rows[index]) ?? []), segment]);
      });
    }
    return back;
  }

  pairs(step, segment) {
    const changed = this.frames[step].changes.find((each) => each.segment === segment && each.rows !== null);
    return changed?.came.length ?? 0;
  }

  row(step, position) {
    if (position < 0) return "the prompt’s last row";
    const decided = this.decided.get(position);
    if (decided && decided.step < step) return `row ${position}, “${decided.piece}”`;
    return `row ${position}, a mask${decided ? ` (later “${decided.piece}”)` : ""}`;
  }

  told(step, asked) {
    const parts = [...asked].map(([row, segments]) => {
      const named = segments.slice(0, MOST_NAMED).map(
        (segment) => `layer ${Math.floor(segment / this.heads)} KV head ${segment % this.heads}`);
      const more = segments.length > MOST_NAMED ? ` and ${segments.length - MOST_NAMED} more` : "";
      return `${named.join(", ")}${more} for ${this.row(step, row)}`;
    });
    return `came back in this step to ${parts.join("; to ")}`;
  }
}

// The slider over the steps, a strip of them to click on, and the response as it was.
export function filmPart(film, view, show, chosen) {
  const last = film.frames.length - 1;
  const step = element("input", { type: "range", min: 0, max: last, value: view.step, id: "lens-step" });
  const said = element("output", { htmlFor: "lens-step", id: "lens-step-said" });
  const cells = Array.from({ length: film.length }, () => element("span"));
  const response = element("p", { className: "response", role: "group", dir: "auto" }, ...cells.flatMap((cell) => [cell, " "]));
  const buttons = film.frames.map((_, index) => {
    const button = element("button", { type: "button", tabIndex: -1 }, String(index + 1));
    button.addEventListener("click", () => show(index));
    return button;
  });
  const strip = element("div", { className: "map strip" }, ...buttons);
  step.addEventListener("input", () => show(Number(step.value)));
  return {
    node: element("div", { className: "film" },
      control("Step", step, {}, said),
      strip, response),
    update() {
      const segments = chosen();
      const counts = film.frames.map((_, index) =>
        segments.reduce((sum, segment) => sum + film.pairs(index, segment), 0));
      const most = Math.max(1, ...counts);
      buttons.forEach((button, index) => {
        button.className = `shade-${portion(counts[index], most)}`;
        button.title = `step ${index + 1}: ${counts[index]} pairs came back`;
        button.setAttribute("aria-label", button.title);
        button.setAttribute("aria-pressed", String(index === view.step));
      });
      strip.scrollLeft = buttons[view.step].offsetLeft - strip.clientWidth / 2;
      const frame = film.frames[view.step];
      const decided = frame.pieces.length ? `decided “${frame.pieces.map((piece) => piece.trim()).join(" ")}”` : "decided nothing";
      const came = frame.refresh === "prompt" ? "the policy voted" : `${counts[view.step]} pairs came back`;
      said.textContent = `Step ${view.step + 1} of ${last + 1}: ${READ[frame.refresh]}, ${came}; ${decided}.`;
      step.value = view.step;
      step.setAttribute("aria-valuetext", said.textContent);
      cells.forEach((cell, position) => {
        const known = film.decided.get(position);
        const shown = known && known.step <= view.step;
        cell.textContent = shown ? known.piece : "·";
        cell.title = shown ? `row ${position}` : `row ${position}, a mask`;
        cell.className = shown && known.step === view.step ? "new" : "";
      });
      const text = cells.map((cell) => (cell.textContent === "·" ? "…" : cell.textContent)).join(" ");
      response.setAttribute("aria-label", `Response after step ${view.step + 1}: ${text}`);
    },
    // Mark the rows that asked for a token.
    mark(rows) {
      cells.forEach((cell, position) => cell.classList.toggle("current", rows.includes(position)));
    },
  };
}
