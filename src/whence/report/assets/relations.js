// Relations: what ties an example to a behavior, as chips, bars and legends in the colors of their tiers.

const TIERS = {
  copy: "text in common",
  claim: "states it, or shares part of it",
  topic: "topic or form only",
  effect: "no visible tie, with a confirmed effect",
  none: "no visible tie",
  noise: "noise",
};
const WITH_SIMILARITY = ["near", "weak-near", "templated"];
const SURPRISE = "surprising";
const UNTIED = [SURPRISE, "unexplained"];
const NOISE = "noise";
const SAME_TEXT = ["self", "exact", "continuation"];
const GLOSSARY = {
  "first ten": "The ten best proponents of a list, with copies and near copies of one text counted once.",
  proponent: "An example with a positive score: the method names it for the behavior.",
  opponent: "An example with a negative score: the method counts it against the behavior.",
  "stronger than chance":
    "Compared with unrelated queries: at most one of twenty has so strong an example at the same rank. " +
    "It does not mean learned: an untrained model's gradients can be as far from chance.",
  noise: "An example without a visible tie that is not stronger than chance.",
  "no visible tie":
    "No relation was found in the text, and the example is stronger than chance by a method on gradients, " +
    "or the method was not calibrated. Whether the model learned from it was not tested.",
  hub: "An example that is also among the first ten of at least a tenth of the unrelated queries.",
  "training step":
    "One step of AdamW from the model's weights on the example alone: what a step would do now, not what " +
    "training on the example did.",
  cluster: "Examples that are copies or near copies of each other. A list shows the best of them.",
  "Jaccard@k": "Examples among the first k of both methods, over those among the first k of either.",
  search: "A method that compares texts only, such as BM25. What it finds shares words with the query.",
};

function relationKind(name) {
  return DATA.relations.find((kind) => kind.relation === name) ?? null;
}

// A term of the field, explained where it stands.
function term(name, shown = name) {
  const meaning = GLOSSARY[name];
  return el("dfn", { title: meaning, "aria-description": meaning }, shown);
}

function glossary() {
  const rows = Object.entries(GLOSSARY).map(([name, meaning]) => [
    el("dt", null, name),
    el("dd", null, meaning),
  ]);
  const kinds = DATA.relations.map(({ relation, label, rule, tier }) => [
    el("dt", null, el("span", { class: "chip tier " + tier, "data-relation": relation }, label)),
    el("dd", null, rule),
  ]);
  return fold("What these words mean", [
    el("dl", { class: "glossary" }, rows),
    el("h3", null, "Relations: an example has the first that holds"),
    el("dl", { class: "glossary" }, kinds),
  ]);
}

function relationChip(tie) {
  const kind = relationKind(tie.relation);
  if (!kind) return null;
  const hasDegree = WITH_SIMILARITY.includes(tie.relation) && tie.edit_similarity !== null;
  const label = kind.label + (hasDegree ? ", " + percent(tie.edit_similarity) : "");
  const rule = kind.label + ": " + kind.rule;
  return el("span", { class: "chip tier " + kind.tier, title: rule, "aria-description": rule }, label);
}

// What was found of it, such as the sentence that states a fact.
function tieDetail(tie) {
  const kind = tie && relationKind(tie.relation);
  if (!kind || !tie.detail) return null;
  if (kind.tier !== "claim") return el("p", { class: "tie" }, kind.label + ": ", said(tie.detail));
  return el("p", { class: "tie" }, kind.label + ": ", el("q", { class: "text" }, said(tie.detail)));
}

// Of its tier; noise is paler than what is stronger than chance and has no visible tie.
function shade({ relation, tier }) {
  return relation === NOISE ? NOISE : tier;
}

// Counts by relation, in the order of the table.
function relationCounts(relations) {
  return DATA.relations
    .map((kind) => ({ ...kind, n: of(relations, kind.relation) ?? 0 }))
    .filter(({ n }) => n > 0);
}

function relationWords(relations) {
  const parts = relationCounts(relations).map(({ one, many, n }) => `${n} ${n === 1 ? one : many}`);
  return parts.length ? parts.join(", ") : "none";
}

function relationBar(relations, name) {
  const counts = relationCounts(relations);
  const total = counts.reduce((sum, { n }) => sum + n, 0);
  const label = name + ": " + relationWords(relations);
  const part = ({ label: text, n, ...kind }) =>
    el(
      "span",
      { class: "part " + shade(kind), vars: { "--n": n }, title: `${n} of ${total}: ${text}` },
      n / total >= 0.07 && count(n),
    );
  const cls = "relbar" + (total ? "" : " none");
  return el("div", { class: cls, role: "img", "aria-label": label }, counts.map(part));
}

// One line per list: what it is called, its bar, and how many it counts.
function methodBar(method, relations, note) {
  return barRow(methodLabel(method), relations, { note, about: findMethod(method)?.about });
}

function barRow(name, relations, { note = null, about = null } = {}) {
  return el(
    "div",
    { class: "barrow" },
    el("span", { class: "name", title: about }, name),
    relationBar(relations, name),
    note && el("span", { class: "note num" }, note),
  );
}

function tierLegend(lists) {
  const tiers = new Set(lists.flatMap((relations) => relationCounts(relations).map(shade)));
  const item = (tier) => el("span", null, el("i", { class: "part " + tier, "aria-hidden": "true" }), TIERS[tier]);
  return el(
    "p",
    { class: "legend tiers" },
    Object.keys(TIERS)
      .filter((tier) => tiers.has(tier))
      .map(item),
  );
}

// Compared with unrelated queries.

function isAboveNull(entry) {
  return entry.tail !== null && entry.tail <= DATA.reading.largest_tail;
}

function isHub(entry) {
  const total = DATA.reading.num_null;
  return Boolean(entry.num_hub && total && entry.num_hub * 10 >= total);
}

// Where an example stands among unrelated queries, from 0 to 100%; beyond the line is stronger than chance.
function nullMeter(tail) {
  const [width, height] = [96, 12];
  const x = (share) => 2 + share * (width - 4);
  const line = x(1 - DATA.reading.largest_tail);
  return svg(
    "svg",
    { class: "whisker meter", viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" },
    svg("line", { class: "axis", x1: x(0), x2: x(1), y1: 6, y2: 6 }),
    svg("line", { class: "noise-line", x1: line, x2: line, y1: 0, y2: height }),
    svg("circle", { cx: x(Math.max(0, 1 - tail)), cy: 6, r: 3.5 }),
  );
}

function strengthNote(entry, result) {
  if (entry.tail === null || !result.num_null) return null;
  const n = Math.round(entry.tail * (result.num_null + 1)) - 1;
  const many = `${n === 0 ? "none" : n} of ${result.num_null} unrelated queries ${n > 1 ? "have" : "has"}`;
  const isAbove = isAboveNull(entry);
  const start = isAbove ? term("stronger than chance") : "not above chance";
  const cls = "strength" + (isAbove ? " above" : "");
  return el("p", { class: cls }, nullMeter(entry.tail), start, `: ${many} so strong an example at this rank`);
}

function change(value) {
  return (value > 0 ? "+" : "") + number(value, 2);
}

// What one training step on an example did, beside steps on random ones like it.
function effectNote({ random_effects: others }, { effect }) {
  if (effect === null || !others.length) return null;
  const [least, most] = [Math.min(...others), Math.max(...others)];
  const range = others.length === 1 ? change(least) : `${change(least)} to ${change(most)}`;
  return el(
    "p",
    { class: "strength" + (effect > most ? " above" : "") },
    "one ",
    term("training step"),
    ` on it changes the completion's log-probability by ${change(effect)} nats; on ` +
      `${plural(others.length, "random example")} like it, by ${range}`,
  );
}

function hubNote(entry) {
  if (!isHub(entry)) return null;
  const among = `also among the first ten of ${entry.num_hub} of ${DATA.reading.num_null} unrelated queries`;
  return el("p", { class: "strength" }, term("hub"), ": " + among);
}
