// Shows texts that nobody here wrote: visibly, safely, and no longer than asked for.

const HIDDEN = new RegExp(
  "[\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u200b" +
    "\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff\\ufff9-\\ufffb]",
);
const FOLDED = 420;
const LONGEST = 1200;

// Characters that would reorder or hide what a reader sees are named instead of obeyed.
function visible(text) {
  if (!HIDDEN.test(text)) return [text];
  const parts = [];
  let plain = "";
  for (const c of text) {
    if (!HIDDEN.test(c)) {
      plain += c;
      continue;
    }
    const code = c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    parts.push(plain, el("span", { class: "ctl" }, "U+" + code));
    plain = "";
  }
  parts.push(plain);
  return parts.filter((part) => part !== "");
}

// Where only plain text can stand, such as a title or a picture, they are left out.
function visibleText(text) {
  return Array.from(text)
    .filter((c) => !HIDDEN.test(c))
    .join("");
}

function said(text, cls) {
  return el("bdi", { class: cls, dir: "auto" }, visible(text));
}

// Offsets from Python count code points; JavaScript's count halves of them.
function slicer(text) {
  if (!/[\ud800-\udfff]/.test(text)) return { length: text.length, slice: (a, b) => text.slice(a, b) };
  const points = Array.from(text);
  return { length: points.length, slice: (a, b) => points.slice(a, b).join("") };
}

function level(numWords) {
  return numWords === 1 ? "m1" : numWords < 5 ? "m2" : "m3";
}

// Cuts [from, to) of a text into runs that carry the same marks.
function marked(text, spans, answers, from, to) {
  const at = slicer(text);
  const cuts = new Set([from, to]);
  for (const { start, end } of [...spans, ...answers]) {
    if (start >= to || end <= from) continue;
    cuts.add(Math.max(start, from));
    cuts.add(Math.min(end, to));
  }
  const edges = [...cuts].sort((a, b) => a - b);
  const nodes = [];
  for (let i = 0; i + 1 < edges.length; i++) {
    const [a, b] = [edges[i], edges[i + 1]];
    const covers = (run) => run.start <= a && run.end >= b;
    const span = spans.find(covers);
    const isAnswer = answers.some(covers);
    const content = visible(at.slice(a, b));
    const shade = span ? level(span.num_words) : "m0";
    if (!span && !isAnswer) nodes.push(content);
    else nodes.push(el("mark", { class: shade + (isAnswer ? " answer" : "") }, content));
  }
  return nodes;
}

const NO_MARKS = { spans: [], answers: [] };

// Where a window of `limit` characters starts that shows the longest shared run.
function windowStart(spans, length, limit) {
  const longest = [...spans].sort((x, y) => y.num_words - x.num_words)[0];
  if (length <= limit || !longest) return 0;
  return Math.max(0, Math.min(longest.start - Math.round(limit / 4), length - limit));
}

// `marks` holds the spans and answers of a shown example, which count from the whole text's start.
function passage(example, marks, limit) {
  const length = slicer(example.text).length;
  const first = example.first_character;
  const shift = (run) => ({ ...run, start: run.start - first, end: run.end - first });
  const spans = marks.spans.map(shift);
  const from = windowStart(spans, length, limit);
  const to = Math.min(length, from + limit);
  const isCutBefore = from + first > 0;
  const isCutAfter = to + first < example.num_characters;
  return [
    isCutBefore && "\u2026",
    marked(example.text, spans, marks.answers.map(shift), from, to),
    isCutAfter && "\u2026",
  ];
}

// A part that was cut out before.
function excerpt(cut) {
  return [
    cut.is_cut_before && "\u2026",
    marked(cut.text, cut.spans, cut.answers, 0, slicer(cut.text).length),
    cut.is_cut_after && "\u2026",
  ];
}

// The text of an example, folded around its longest shared run, with a button for the rest.
function body(example, marks, { compact = false } = {}) {
  const limit = compact ? FOLDED / 2 : FOLDED;
  const length = slicer(example.text).length;
  if (length === 0) {
    const why = example.num_characters === 0 ? "The text is empty or unknown." : "No text.";
    return el("p", { class: "soft small" }, why);
  }
  const whole = length <= limit;
  const isCut = length < example.num_characters;
  const part = carried(example, length);
  const fits = whole && example.text.split("\n").length <= 6;
  const holder = el("div");
  const draw = (open) => {
    const shown = passage(example, marks, open || whole ? length : limit);
    const cls = "body" + (open || fits ? "" : " folded");
    holder.replaceChildren(el("p", { class: cls, dir: "auto" }, shown));
    if (isCut) holder.append(el("p", { class: "small soft" }, "Cut: the page carries " + part + "."));
    if (fits) return;
    const props = {
      class: "link small fold",
      type: "button",
      "aria-expanded": String(open),
      onclick: () => draw(!open),
    };
    const label = open ? "show less" : "show all (" + part + ")";
    holder.append(el("button", props, label));
  };
  draw(false);
  return holder;
}

// Which part of a text the page carries.
function carried(example, length) {
  if (example.num_characters === length) return plural(length, "character");
  const first = example.first_character;
  const part = count(first + 1) + "\u2013" + count(first + length);
  return "characters " + part + " of " + count(example.num_characters);
}

// Masks until asked: texts of toxic behaviors, and examples planted for or labeled as such.
function maskable(sensitive, what, build) {
  if (!sensitive || !STATE.mask) return build();
  const button = el(
    "button",
    { class: "masked", type: "button" },
    what + " masked, as it may offend. Show it",
  );
  button.addEventListener("click", () => {
    const node = build();
    button.replaceWith(node);
    if (node instanceof HTMLElement) {
      node.tabIndex = -1;
      node.focus();
    }
  });
  return button;
}
