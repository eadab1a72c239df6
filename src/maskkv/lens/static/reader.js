// A long text of tokens to move in: keys, search, and a map of the whole. Thousands of tokens share one listener, and a
// token's class is written only where it changes.

import { control, element } from "./parts.js";

const MOST_BINS = 200;

export class Reader {
  // `look` is told of the token that is pointed at or walked to.
  constructor(tokens, special, look) {
    // The blanks in front of a word are not shaded.
    const cut = tokens.map((text) => text.length - (text.trimStart() || text).length);
    this.spans = tokens.map((text, index) => element("span", {}, text.slice(cut[index])));
    this.special = special;
    this.look = look;
    this.current = null;
    this.levels = new Uint8Array(tokens.length);
    this.back = new Map();
    this.found = new Set();
    this.names = new Array(tokens.length);
    this.numbers = new Map(this.spans.map((span, index) => [span, index]));
    this.text = element("div", { className: "document", tabIndex: 0, role: "group", dir: "auto" },
      ...tokens.flatMap((text, index) => [text.slice(0, cut[index]), this.spans[index]]));
    this.bins = Array.from({ length: Math.min(MOST_BINS, tokens.length) }, () => element("i"));
    this.pane = element("div", { className: "pane" });
    // Keys and search reach all that it does.
    this.map = element("div", { className: "minimap", ariaHidden: "true" }, ...this.bins, this.pane);
    this.node = element("div", { className: "reader" }, this.text, this.map);
    this.search = this.finder(tokens.join(""), tokens);
    this.jumps = null;
    this.listen();
  }

  listen() {
    this.text.addEventListener("pointerover", (event) => {
      const index = this.numbers.get(event.target);
      if (index !== undefined) this.at(index);
    });
    this.text.addEventListener("keydown", (event) => {
      const next = this.next(event.key);
      if (next === null) return;
      event.preventDefault();
      if (next !== undefined) this.go(next);
    });
    const drag = (event) => {
      if (!event.buttons) return;
      const { top, height } = this.map.getBoundingClientRect();
      const part = Math.min(0.999, Math.max(0, (event.clientY - top) / height));
      const span = this.spans[Math.floor(part * this.spans.length)];
      this.text.scrollTop = span.offsetTop - this.text.clientHeight / 2;
    };
    this.map.addEventListener("pointerdown", drag);
    this.map.addEventListener("pointermove", drag);
    let waits = false;
    const framed = () => {
      if (waits) return;
      waits = true;
      requestAnimationFrame(() => {
        waits = false;
        this.frame();
      });
    };
    this.text.addEventListener("scroll", framed, { passive: true });
    new ResizeObserver(framed).observe(this.text);
  }

  // Where a key leads: a token; undefined if nowhere, null if it is no key of ours.
  next(key) {
    const last = this.spans.length - 1;
    const here = this.current;
    if (key === "Home") return 0;
    if (key === "End") return last;
    if (key === "PageUp" || key === "PageDown") return this.page(here ?? 0, key === "PageUp" ? -1 : 1);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (step) return Math.min(last, Math.max(0, (here ?? -step) + step));
    const jump = this.jumps && { ArrowUp: -1, ArrowDown: 1 }[key];
    return jump ? nearest(this.jumps(), here ?? -1, jump) : null;
  }

  // The token about a screen further.
  page(from, direction) {
    const { offsetTop, offsetLeft } = this.spans[from];
    const top = offsetTop + direction * this.text.clientHeight * 0.9;
    const line = this.above(top);
    let index = line;
    while (index < this.spans.length - 1 && this.spans[index + 1].offsetTop === this.spans[line].offsetTop
      && this.spans[index + 1].offsetLeft <= offsetLeft) index += 1;
    return index;
  }

  // The first token of the last line that does not begin below a height.
  above(top) {
    let low = 0;
    let high = this.spans.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.spans[middle].offsetTop <= top) low = middle;
      else high = middle - 1;
    }
    while (low > 0 && this.spans[low - 1].offsetTop === this.spans[low].offsetTop) low -= 1;
    return low;
  }

  at(index) {
    const before = this.current;
    this.current = index;
    if (before !== null) this.paint(before);
    if (index !== null) this.paint(index);
    this.look(index);
  }

  go(index) {
    this.at(index);
    this.spans[index].scrollIntoView({ block: "nearest" });
  }

  // Shade each token by a level of its own; `back` are those to underline.
  shade(level, back) {
    this.back = back;
    const deepest = new Uint8Array(this.bins.length);
    for (let index = 0; index < this.spans.length; index += 1) {
      this.levels[index] = level(index);
      this.paint(index);
      const bin = Math.floor(index * deepest.length / this.spans.length);
      deepest[bin] = Math.max(deepest[bin], this.levels[index]);
    }
    this.bins.forEach((bin, index) => { bin.className = `shade-${deepest[index]}`; });
  }

  paint(index) {
    let name = `shade-${this.levels[index]}`;
    if (this.levels[index]) name += " kept";
    if (this.special.has(index)) name += " special";
    if (this.back.has(index)) name += " back";
    if (this.found.has(index)) name += " found";
    if (index === this.current) name += " current";
    if (name === this.names[index]) return;
    this.names[index] = name;
    this.spans[index].className = name;
  }

  // Show on the map which part of the text is in view.
  frame() {
    const { scrollTop, clientHeight } = this.text;
    const first = this.above(scrollTop);
    const last = scrollTop + clientHeight >= this.text.scrollHeight - 1 ? this.spans.length : this.above(scrollTop + clientHeight);
    this.pane.style.top = `${100 * first / this.spans.length}%`;
    this.pane.style.height = `${100 * Math.max(0, last - first) / this.spans.length}%`;
  }

  finder(whole, tokens) {
    const input = element("input", { type: "search", id: "lens-find", autocomplete: "off", spellcheck: false });
    const said = element("output", { htmlFor: "lens-find", id: "lens-found" });
    const starts = [0];
    for (const text of tokens) starts.push(starts.at(-1) + text.length);
    let hits = [];
    let shown = -1;
    const tell = () => {
      if (!input.value) said.textContent = "";
      else said.textContent = hits.length ? `${shown + 1} of ${hits.length}` : "not in the prompt";
    };
    input.addEventListener("input", () => {
      const before = this.found;
      hits = found(whole, input.value, starts);
      this.found = new Set(hits.flat());
      for (const index of new Set([...before, ...this.found])) this.paint(index);
      shown = hits.length ? 0 : -1;
      if (hits.length) this.go(hits[0][0]);
      tell();
    });
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      if (!hits.length) return;
      shown = (shown + (event.shiftKey ? -1 : 1) + hits.length) % hits.length;
      this.go(hits[shown][0]);
      tell();
    });
    return control("Find in the prompt (Enter: next)", input, {}, said);
  }
}

// The tokens of each place where a text occurs, whatever the case of its letters.
function found(whole, wanted, starts) {
  if (!wanted.trim()) return [];
  const pattern = new RegExp(wanted.trim().replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"), "giu");
  let token = 0;
  return [...whole.matchAll(pattern)].map(({ index, 0: { length } }) => {
    while (starts[token + 1] <= index) token += 1;
    const covered = [];
    for (let each = token; each < starts.length - 1 && starts[each] < index + length; each += 1) covered.push(each);
    return covered;
  });
}

// The nearest of the tokens that came back, before or behind one.
function nearest(back, from, direction) {
  const ahead = [...back.keys()].filter((position) => (position - from) * direction > 0);
  return ahead.sort((one, other) => (one - other) * direction)[0];
}
