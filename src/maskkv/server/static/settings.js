// The panel of settings: what it offers is what the server says of the loaded model; an empty field is left to it.

import { element } from "/static/lens/lens.js";

const FIELDS = {
  steps: ["Steps", "Passes over the response. Fewer are faster and decide several tokens at once."],
  block_length: ["Block length", "The response is decided in blocks of so many tokens, from left to right."],
  temperature: ["Temperature", "0 takes the likeliest tokens; above, tokens are drawn."],
  threshold: ["Threshold", "A step decides every mask that is at least this sure; steps do not count then."],
  seed: ["Seed", "The same seed draws the same tokens again."],
  prompt_interval: ["Prompt interval", "After so many steps the prompt is read again, and the policy chooses anew."],
  response_interval: ["Response interval", "After so many steps the whole response is recomputed."],
  transfer_ratio: ["Transfer ratio", "The part of the response's rows that a step in between recomputes."],
};
const EVICTED = {
  drop: "drop: they are freed",
  host: "host: they wait in host memory and may come back",
  device: "device: they stay, and every block chooses anew",
};
const DEFAULTS = { steps: "one per token", threshold: "none", seed: "drawn" };
const EVICTED_ID = "set-evicted";

export class Settings {
  constructor(panel, fields, reset) {
    Object.assign(this, { panel, fields, offered: [] });
    panel.addEventListener("input", () => this.tell());
    reset.addEventListener("click", () => {
      for (const input of this.inputs()) input.value = input.dataset.usual ?? "";
      this.tell();
      panel.dispatchEvent(new Event("input", { bubbles: true }));
    });
  }

  offer({ settings, evicted, evicted_choices: choices }) {
    this.offered = Object.keys(FIELDS).filter((name) => name in settings);
    const select = element("select", { id: EVICTED_ID },
      ...choices.map((name) => element("option", { value: name }, EVICTED[name])));
    select.value = evicted;
    select.dataset.usual = evicted;
    this.fields.replaceChildren(...this.offered.map((name) => numberField(name, settings[name])),
      field(EVICTED_ID, "Evicted pairs", "What becomes of the pairs that the policy does not keep.", select));
    this.tell();
  }

  inputs() {
    return [...this.fields.querySelectorAll("input, select")];
  }

  changed() {
    return this.inputs().filter((input) => input.value !== (input.dataset.usual ?? ""));
  }

  tell() {
    const count = this.changed().length;
    this.panel.querySelector("summary").textContent = count ? `More settings (${count} changed)` : "More settings";
  }

  // Returns the fields of a request. Throws a RangeError that names what is no number.
  chosen(evicts) {
    const found = {};
    for (const name of this.offered) {
      const input = document.getElementById(`set-${name}`);
      if (input.validity.badInput) throw new RangeError(`${FIELDS[name][0]}: expected a number`);
      if (input.value !== "") found[name] = Number(input.value);
    }
    if (evicts) found.evicted = document.getElementById(EVICTED_ID).value;
    return found;
  }
}

function numberField(name, { type, minimum, exclusiveMinimum, maximum, default: usual }) {
  const input = element("input", {
    type: "number", id: `set-${name}`, min: minimum ?? exclusiveMinimum ?? "", max: maximum ?? "",
    step: type === "integer" ? 1 : "any", placeholder: DEFAULTS[name] ?? String(usual),
  });
  return field(input.id, FIELDS[name][0], FIELDS[name][1], input);
}

function field(id, label, hint, input) {
  input.setAttribute("aria-describedby", `${id}-hint`);
  const className = input.tagName === "SELECT" ? "control wide" : "control";
  return element("div", { className }, element("label", { htmlFor: id }, label), input,
    element("p", { className: "hint", id: `${id}-hint` }, hint));
}
