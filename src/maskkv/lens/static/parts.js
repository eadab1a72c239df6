// What the lens is built of. Whatever comes from a document or a model is set as text, never as markup.

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function bytes(count) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let value = count;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit ? value.toFixed(1) : value} ${units[unit]}`;
}

export function choice(id, all, count, what) {
  const options = Array.from({ length: count }, (_, index) => element("option", { value: index }, `${what} ${index}`));
  return element("select", { id }, element("option", { value: "" }, all), ...options);
}

export function control(label, input, { wide = false } = {}, ...more) {
  return element("div", { className: wide ? "control wide" : "control" },
    element("label", { htmlFor: input.id }, label), input, ...more);
}

let sections = 0;

export function section(title, ...children) {
  sections += 1;
  const id = `lens-section-${sections}`;
  return element("section", { "aria-labelledby": id }, element("h2", { id }, title), ...children);
}

// Little-endian numbers of so many bytes each, from base64.
export function unpacked(base64, size) {
  const view = new DataView(Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer);
  return Array.from({ length: view.byteLength / size }, (_, index) =>
    (size === 2 ? view.getUint16(2 * index, true) : view.getUint32(4 * index, true)));
}
