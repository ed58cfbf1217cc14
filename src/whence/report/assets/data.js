// What sections share of the page's data, and the list of what draws each.

const DRAW = new Map();

// A section's script calls this; `draw` makes nodes of the section's data.
function section(name, draw) {
  DRAW.set(name, draw);
}

function sectionData(name) {
  return DATA.sections.find((s) => s.name === name)?.data ?? null;
}

const BEHAVIORS = sectionData("behaviors")?.behaviors ?? [];
const KINDS = DATA.kinds.map((k) => k.name);

// Objects with names out of the study as keys: a name may be that of something every object has.
function of(map, key) {
  return key !== null && Object.hasOwn(map, key) ? map[key] : null;
}

function findMethod(name) {
  return DATA.methods.find((m) => m.name === name) ?? null;
}

function findBehavior(id) {
  return BEHAVIORS.find((b) => b.id === id) ?? null;
}

function kindOf(behavior) {
  return DATA.kinds.find((k) => k.name === behavior.kind);
}

function isSensitive(behavior) {
  return kindOf(behavior).is_sensitive;
}

function verdictOf(behavior) {
  return behavior.verification ? behavior.verification.verdict : null;
}

function isShown(behavior) {
  const verdict = verdictOf(behavior);
  return DATA.verdicts.some((v) => v.name === verdict && v.is_shown);
}

function wasAttributed(behavior) {
  return Object.keys(behavior.results).length > 0;
}

function completionText(behavior) {
  if (behavior.completion) return behavior.completion;
  return behavior.verification ? behavior.verification.completion.tokens.map((t) => t.text).join("") : "";
}

function shorten(text, limit, keepEnd) {
  const points = Array.from(text);
  if (points.length <= limit) return text;
  return keepEnd ? "\u2026" + points.slice(-limit).join("") : points.slice(0, limit).join("") + "\u2026";
}

function verdictChip(behavior) {
  const verdict = verdictOf(behavior);
  const meaning = of(kindOf(behavior).meanings, verdict) ?? "Nothing was measured.";
  const props = { class: "chip " + (verdict || "").replace(" ", "-"), title: meaning, "aria-description": meaning };
  return el("span", props, verdict || "not verified");
}

function forcedChip(behavior) {
  const title = "The model does not show this behavior; it was attributed because the study asked for it.";
  return behavior.is_forced && el("span", { class: "chip forced", title }, "forced");
}
