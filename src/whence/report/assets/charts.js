// Small pictures that carry numbers; each says the same in words.

function histogram(result, scoresFor, scoresAgainst) {
  const h = result.histogram;
  if (!h) return null;
  if (h.counts.length === 1) {
    const all = plural(result.num_scored, "scored example");
    return el("p", { class: "soft small" }, "Scores: ", all, ", all with ", number(h.low, 6), ".");
  }
  const [width, height, base] = [620, 84, 58];
  // Scores are rounded to fewer digits than the ends of the range, and may lie beyond them.
  const share = (v) => Math.max(0, Math.min(1, (v / 2 - h.low / 2) / (h.high / 2 - h.low / 2)));
  const x = (v) => 4 + share(v) * (width - 8);
  // The square root keeps single examples visible beside thousands.
  const top = Math.sqrt(Math.max(...h.counts));
  const step = (width - 8) / h.counts.length;
  const bars = h.counts.map((n, i) => {
    const tall = (Math.sqrt(n) / top) * (base - 6);
    return n ? svg("rect", { x: 4 + i * step + 0.5, y: base - tall, width: step - 1, height: tall }) : null;
  });
  const tick = (cls) => (v) => svg("line", { class: cls, x1: x(v), x2: x(v), y1: base, y2: base + 9 });
  const zero = h.low < 0 && h.high > 0 && x(0) > 60 && x(0) < width - 60;
  const label =
    `Scores of ${result.num_scored} examples, from ${number(h.low)} to ${number(h.high)}; ` +
    "ticks mark the shown ones.";
  return el(
    "figure",
    { class: "histogram" },
    svg(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label },
      bars,
      svg("line", { class: "axis", x1: 4, x2: width - 4, y1: base, y2: base }),
      scoresFor.map(tick("tick-for")),
      scoresAgainst.map(tick("tick-against")),
      svg("text", { x: 4, y: height - 3 }, number(h.low)),
      zero && svg("text", { x: x(0), y: height - 3, "text-anchor": "middle" }, "0"),
      svg("text", { x: width - 4, y: height - 3, "text-anchor": "end" }, number(h.high)),
    ),
    el(
      "figcaption",
      { class: "soft small" },
      "Scores of all ",
      plural(result.num_scored, "scored example"),
      " (height: square root of the count). Ticks: the ones shown below.",
    ),
  );
}

// A proportion with its interval, on an axis from 0 to 1.
function whisker(rate, interval) {
  const [width, height] = [74, 12];
  const x = (v) => 4 + v * (width - 8);
  return svg(
    "svg",
    { class: "whisker", viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" },
    svg("line", { class: "axis", x1: x(0), x2: x(1), y1: 6, y2: 6 }),
    svg("line", { x1: x(interval.low), x2: x(interval.high), y1: 6, y2: 6 }),
    svg("circle", { cx: x(rate), cy: 6, r: 3.5 }),
  );
}

// `pairs` holds the agreement of every two methods, each pair once.
function jaccard(pairs, a, b) {
  const of = (x, y) => pairs.find((pair) => pair.first === x && pair.second === y);
  return (of(a, b) || of(b, a))?.jaccard ?? null;
}

function agreementTable(pairs) {
  const k = DATA.top_k;
  const names = DATA.methods.map((m) => m.name);
  const cell = (a, b) => {
    if (a === b) return el("td", { class: "heat soft" }, "\u00b7");
    const value = jaccard(pairs, a, b);
    if (value === null) return el("td", { class: "heat soft" }, "\u2013");
    const background = `color-mix(in srgb, var(--accent) ${Math.round(value * 45)}%, transparent)`;
    return el("td", { class: "heat num", vars: { background } }, value.toFixed(2));
  };
  const explanation =
    `Jaccard@${k}: shared examples over all examples among the first ${k} of either; ` +
    "1 is full agreement, \u2013 undefined. Ties keep the order of the corpus.";
  const heads = names.map((name) => el("th", { scope: "col" }, methodLabel(name)));
  const row = (a) =>
    el(
      "tr",
      null,
      el("th", { scope: "row" }, methodLabel(a)),
      names.map((b) => cell(a, b)),
    );
  return scrolled(
    "Agreement of methods",
    el("p", { class: "soft small" }, explanation),
    el("table", null, el("thead", null, el("tr", null, el("td"), heads)), el("tbody", null, names.map(row))),
  );
}
