// The kept-token lens.

import { comparisonPart } from "./comparison.js";
import { documentPart } from "./document.js";
import { mapPart } from "./map.js";
import { unpacked } from "./parts.js";
import { Reads, readsPart } from "./reads.js";
import { Film } from "./recalls.js";

export { bytes, element } from "./parts.js";

const shown = new WeakMap();

// Show a report. What is not in it yet (the answers, what they read, the film) is shown when it is called again with a
// report that has the same sweep and more; the reader stays where they were.
export function showLens(root, report) {
  const before = shown.get(root);
  const same = before?.report.sweep === report.sweep && root.contains(before.whole);
  if (same && before.report.film === (report.film ?? null)) {
    before.take({ ...report, film: report.film ?? null });
    return;
  }
  const lens = new Lens(report);
  const view = { budgetIndex: lens.askedIndex, step: 0, layer: null, head: null, token: null, ...(same ? before.narrowed() : {}) };
  const parts = [documentPart(lens, view, update), mapPart(lens, view, update)];
  const reading = document.createElement("div");
  const card = document.createElement("div");
  const now = {
    report: { ...report, film: report.film ?? null },
    whole: parts[0].node,
    narrowed: () => ({ layer: view.layer, head: view.head }),
    take(newer) {
      now.report = newer;
      card.replaceChildren(comparisonPart(newer));
      if (!newer.reads || lens.reads) return;
      lens.take(newer);
      parts.push(readsPart(lens, view, (token) => {
        Object.assign(view, { token, step: lens.lastStep, budgetIndex: lens.askedIndex });
        update();
      }));
      reading.replaceChildren(parts.at(-1).node);
      parts.at(-1).update();
    },
  };
  now.take(now.report);
  root.replaceChildren(parts[0].node, reading, parts[1].node, card);
  root.classList.add("lens");
  shown.set(root, now);
  function update() {
    for (const part of parts) part.update();
  }
  update();
}

// Show a look as it comes: `events` are those of /api/lens with `stream`, and `tell` is told how far it is.
export async function followLens(root, events, tell, keep) {
  let report = {};
  try {
    for await (const { progress, report: more } of events) {
      if (progress) tell(said(progress));
      if (more) {
        report = { ...report, ...more };
        showLens(root, report);
        keep(report);
      }
    }
  } finally {
    tell("");
  }
}

function said({ phase, done, of }) {
  const count = of > 1 ? `: ${done} of ${of} tokens` : "";
  return `${phase[0].toUpperCase()}${phase.slice(1)}${count} …`;
}

// Which positions each (layer, head) segment keeps at each budget.
class Lens {
  constructor(data) {
    const { budgets, counts, order, preference } = data.sweep;
    Object.assign(this, { data, budgets, counts, preference });
    this.layers = preference.length;
    this.heads = preference[0].length;
    const largest = budgets.length - 1;
    this.askedIndex = data.budget === null ? largest : budgets.indexOf(Math.min(data.budget, budgets[largest]));
    this.order = this.unpack(order);
    this.film = data.film ? new Film(data.film, this.layers, this.heads) : null;
    this.lastStep = this.film ? this.film.frames.length - 1 : 0;
    this.reads = null;
  }

  // Take the answer, and what its tokens read.
  take(data) {
    this.data = data;
    this.reads = new Reads(data.reads, this.layers * this.heads);
  }

  unpack(order) {
    const positions = unpacked(order, this.data.tokens.length > 65536 ? 4 : 2);
    let at = 0;
    return this.preference.map((heads, layer) => heads.map((_, head) => {
      const most = Math.max(...this.counts.map((counts) => counts[layer][head]));
      at += most;
      return positions.slice(at - most, at);
    }));
  }

  segments(view) {
    const chosen = [];
    for (let layer = 0; layer < this.layers; layer += 1) {
      for (let head = 0; head < this.heads; head += 1) {
        if ((view.layer ?? layer) === layer && (view.head ?? head) === head) chosen.push([layer, head]);
      }
    }
    return chosen;
  }

  segmentNumbers(view) {
    return this.segments(view).map(([layer, head]) => layer * this.heads + head);
  }

  // For each token, how many of the chosen segments keep it: at the film's step, or by the first vote at another budget.
  holders(view) {
    const filmed = this.film && view.budgetIndex === this.askedIndex;
    const held = filmed ? this.film.holders(view.step, new Set(this.segmentNumbers(view)), this.data.tokens.length) : this.voted(view);
    // Live rows stay anyway, outside the budget.
    held.fill(this.segments(view).length, this.data.evictable);
    return held;
  }

  voted(view) {
    const held = new Uint32Array(this.data.tokens.length);
    const counts = this.counts[view.budgetIndex];
    for (const [layer, head] of this.segments(view)) {
      const order = this.order[layer][head];
      for (let rank = 0; rank < counts[layer][head]; rank += 1) held[order[rank]] += 1;
    }
    return held;
  }

  back(view) {
    return this.preference.map((heads, layer) =>
      heads.map((_, head) => this.film.pairs(view.step, layer * this.heads + head)));
  }

  // The tokens that came back in the film's step, with the rows that asked.
  recalled(view) {
    return this.film ? this.film.recalled(view.step, new Set(this.segmentNumbers(view))) : new Map();
  }
}
