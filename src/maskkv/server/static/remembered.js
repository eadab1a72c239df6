// What survives a reload, in this browser only: the named fields of the page, and never a key.

const NAME = "maskkv.page";
export const LONGEST = 200_000;

export function recall() {
  try {
    const found = JSON.parse(localStorage.getItem(NAME));
    const texts = Object.entries(found ?? {}).filter(([, value]) => typeof value === "string");
    return Object.fromEntries(texts);
  } catch {
    return {}; // There is no storage, or another program wrote to it.
  }
}

// Keeps texts by their names. A document of more than LONGEST characters is left out; returns whether all were kept.
export function remember(texts) {
  const fits = (texts.document ?? "").length <= LONGEST;
  try {
    localStorage.setItem(NAME, JSON.stringify(fits ? texts : { ...texts, document: undefined, left: "out" }));
    return fits;
  } catch {
    return false;
  }
}

export function forget() {
  try {
    localStorage.removeItem(NAME);
  } catch {
    // There was nothing to forget.
  }
}
