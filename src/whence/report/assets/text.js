// Shows texts that nobody here wrote: visibly, safely, and no longer than asked for.

const HIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/;
const FOLDED = 420;

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
    parts.push(plain, el("span", { class: "ctl" }, "U+" + c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")));
    plain = "";
  }
  parts.push(plain);
  return parts.filter((part) => part !== "");
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
function marked(text, marks, answers, from, to) {
  const at = slicer(text);
  const cuts = new Set([from, to]);
  const inside = (a, b) => a < to && b > from;
  for (const [a, b] of [...marks, ...answers]) {
    if (!inside(a, b)) continue;
    cuts.add(Math.max(a, from));
    cuts.add(Math.min(b, to));
  }
  const edges = [...cuts].sort((a, b) => a - b);
  const nodes = [];
  for (let i = 0; i + 1 < edges.length; i++) {
    const [a, b] = [edges[i], edges[i + 1]];
    const mark = marks.find((m) => m[0] <= a && m[1] >= b);
    const answer = answers.some((m) => m[0] <= a && m[1] >= b);
    const content = visible(at.slice(a, b));
    if (!mark && !answer) nodes.push(content);
    else nodes.push(el("mark", { class: (mark ? level(mark[2]) : "m0") + (answer ? " answer" : "") }, content));
  }
  return nodes;
}

// Where a window of `limit` characters starts that shows the longest shared run.
function windowStart(marks, length, limit) {
  const best = [...marks].sort((x, y) => y[2] - x[2])[0];
  if (length <= limit || !best) return 0;
  return Math.max(0, Math.min(best[0] - Math.round(limit / 4), length - limit));
}

function excerpt(example, marks, answers, limit) {
  const length = slicer(example.text).length;
  const shift = ([a, b, n]) => [a - example.first_character, b - example.first_character, n];
  const [m, s] = [marks.map(shift), answers.map(shift)];
  const from = windowStart(m, length, limit);
  const to = Math.min(length, from + limit);
  const [before, after] = [from + example.first_character > 0, to + example.first_character < example.num_characters];
  return [before && "\u2026", marked(example.text, m, s, from, to), after && "\u2026"];
}

// The text of an example, folded around its longest shared run, with a button for the rest.
function body(example, marks, answers, { compact = false } = {}) {
  const limit = compact ? FOLDED / 2 : FOLDED;
  const length = slicer(example.text).length;
  if (length === 0) {
    const why = example.num_characters === 0 ? "The text is empty or unknown." : "No text.";
    return el("p", { class: "soft small" }, why);
  }
  const whole = length <= limit;
  const fits = whole && example.text.split("\n").length <= 6;
  const holder = el("div");
  const draw = (open) => {
    const shown = excerpt(example, marks, answers, open || whole ? length : limit);
    holder.replaceChildren(el("p", { class: "body" + (open || fits ? "" : " folded"), dir: "auto" }, shown));
    if (fits) return;
    const all = example.num_characters === length ? plural(length, "character") : "characters " + count(example.first_character + 1) + "\u2013" + count(example.first_character + length) + " of " + count(example.num_characters);
    holder.append(
      el("button", { class: "link small fold", type: "button", "aria-expanded": String(open), onclick: () => draw(!open) }, open ? "show less" : "show all (" + all + ")"),
    );
  };
  draw(false);
  return holder;
}

// Masks until asked: texts of toxic behaviors, and examples planted for or labeled as such.
function maskable(sensitive, what, build) {
  if (!sensitive || !STATE.mask) return build();
  const button = el("button", { class: "masked", type: "button" }, what + " masked, as it may offend. Show it");
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
