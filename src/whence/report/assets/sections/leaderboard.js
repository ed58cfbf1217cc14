// What the methods are worth, each beside what chance reaches.

const ALL = "all";

function estimateCell(e) {
  if (!e || e.value === null) return el("td", { class: "soft small" }, UNDEFINED);
  const between =
    e.low === null ? "n\u00a0=\u00a0" + e.n : signed(`${e.low.toFixed(2)} to ${e.high.toFixed(2)}`);
  return el(
    "td",
    { class: "num", title: plural(e.n, "query", "queries") },
    signed(e.value.toFixed(3)),
    el("span", { class: "cell-interval" }, between),
  );
}

// A click sorts by a column, best first; another turns the order, a third restores it.
const TURNS = { none: "descending", descending: "ascending", ascending: "none" };

function sortHead({ name, unit }, onclick) {
  const button = el("button", { type: "button", class: "sort", onclick }, name);
  return el("th", { scope: "col", "aria-sort": "none" }, button, unit && el("div", { class: "soft" }, unit));
}

// What is undefined comes last in either order.
function sorted(rows, place, order) {
  if (order === "none") return rows;
  const sign = order === "ascending" ? 1 : -1;
  const value = (row) => row.estimates[place]?.value ?? null;
  const missing = (row) => Number(value(row) === null);
  return [...rows].sort((x, y) => missing(x) - missing(y) || sign * (value(x) - value(y)));
}

// `columns` have a name and a unit, `rows` a name, estimates, and a class; those with one stay below.
function boardTable(columns, rows) {
  const row = ({ name, estimates, cls }) =>
    el("tr", { class: cls }, el("th", { scope: "row" }, name), estimates.map(estimateCell));
  const body = el("tbody");
  const draw = (place, order) => {
    const methods = rows.filter(({ cls }) => !cls);
    const below = rows.filter(({ cls }) => cls);
    body.replaceChildren(...[...sorted(methods, place, order), ...below].map(row));
  };
  const heads = columns.map((column, place) =>
    sortHead(column, () => {
      const order = TURNS[heads[place].getAttribute("aria-sort")];
      heads.forEach((head, i) => head.setAttribute("aria-sort", i === place ? order : "none"));
      draw(place, order);
    }),
  );
  draw(0, "none");
  const first = el("th", { scope: "col" }, "Method");
  return scrolled(
    "Methods by measure",
    el("table", { class: "board" }, el("thead", null, el("tr", null, first, heads)), body),
  );
}

function find(measure, method, kind) {
  return measure.figures.find((f) => f.method === method && f.kind === kind)?.estimate;
}

function byKind(measure, methods) {
  const isMeasured = (kind) => measure.figures.some((f) => f.kind === kind && f.estimate.n);
  const kinds = KINDS.filter(isMeasured);
  const rows = methods.map((method) => ({
    name: methodLabel(method),
    estimates: kinds.map((kind) => find(measure, method, kind)),
  }));
  const control = {
    name: "control: " + measure.controls[ALL].name,
    estimates: kinds.map((kind) => measure.controls[kind]?.estimate),
    cls: "control",
  };
  return [
    el("h3", null, measure.name, " ", el("span", { class: "soft small" }, measure.unit)),
    boardTable(
      kinds.map((name) => ({ name })),
      [...rows, control],
    ),
  ];
}

function overall(measures, methods) {
  const rows = methods.map((method) => ({
    name: methodLabel(method),
    estimates: measures.map((m) => find(m, method, ALL)),
  }));
  const estimates = measures.map((m) => m.controls[ALL].estimate);
  return boardTable(measures, [...rows, { name: "control", estimates, cls: "control" }]);
}

// The curve over windows of training: each column is one bank of retrainings.
function curve(windows, methods) {
  const columns = windows.map((w) => ({
    name: w.label,
    unit:
      (w.share === null ? "" : `${(100 * w.share).toFixed(0)}% of training, `) +
      `${w.masks} masks of ${w.num_units} ${w.unit}s`,
  }));
  const rows = methods.map((method) => ({
    name: methodLabel(method),
    estimates: windows.map((w) => find(w.measure, method, ALL)),
  }));
  const last = [
    ["control: random", windows.map((w) => w.measure.controls[ALL].estimate)],
    ["additive ceiling", windows.map((w) => w.additive_ceiling)],
  ].map(([name, estimates]) => ({ name, estimates, cls: "control" }));
  const explanation =
    "Each column resumes training at the window\u2019s start and leaves out a random half of what it trains on; " +
    "shown is how well summed scores predict the outcomes, without the query\u2019s own documents. The ceiling is " +
    "a linear model fitted on half of the masks.";
  return [
    el("h3", null, "Windows of training ", el("span", { class: "soft small" }, "own-removed LDS")),
    el("p", { class: "soft" }, explanation),
    boardTable(columns, [...rows, ...last]),
  ];
}

// What removing all copies of a text does, beside the sums of their scores.
function removals({ label, clusters }) {
  const methods = [...new Set(clusters.flatMap((one) => Object.keys(one.sums)))];
  const heads = ["Behavior", "Copies", "Removed, nats", "Others", ...methods.map((m) => "Sum: " + methodLabel(m))];
  const ends = ({ low, high }) => (low === null ? "" : ` [${nats(low)}, ${nats(high)}]`);
  const row = (one) =>
    el(
      "tr",
      null,
      el("th", { scope: "row" }, viewLink({ behavior: one.behavior }, null, one.behavior)),
      el("td", null, said(one.example), ` and copies, ${count(one.num_members)}`),
      el("td", { class: "num" }, nats(one.effect.value) + ends(one.effect)),
      el("td", { class: "num" }, `${one.num_others_shown} of ${one.num_others}`),
      methods.map((m) => el("td", { class: "num" }, number(of(one.sums, m)))),
    );
  const explanation =
    "Change of the completion\u2019s log-probability from none to all of a cluster\u2019s members, over " +
    "retrainings, with its 95% interval. Others: for how many other behaviors the interval leaves out 0. Sums " +
    "of scores are no group effects, and each is in its method\u2019s unit.";
  const head = el("thead", null, el("tr", null, heads.map((text) => el("th", { scope: "col" }, text))));
  return el(
    "div",
    null,
    el("p", { class: "soft small" }, label, ". ", explanation),
    scrolled("Clusters removed, " + label, el("table", null, head, el("tbody", null, clusters.map(row)))),
  );
}

section("leaderboard", ({ measures, windows, clusters, undefined: missing, sentences, pictures }) => {
  const methods = [...new Set(measures.flatMap((m) => m.figures.map((f) => f.method)))];
  const reasons = Object.entries(missing).map(([name, why]) => `${name}: ${why}`);
  const explanation =
    "Means over the behaviors with their 95% intervals; more is better, and the last row is what " +
    "chance reaches. Retrieval finds copies in an untrained model as well; only the tail-patch and " +
    "retraining say that an example had an effect.";
  const item = (text) => el("li", null, text);
  const tables = () =>
    el(
      "div",
      null,
      measures.map((m) => byKind(m, methods)),
    );
  return el(
    "section",
    { id: "leaderboard" },
    el("h2", null, "Which methods may be trusted with what"),
    el("p", { class: "soft" }, explanation),
    measures.length > 0 && overall(measures, methods),
    pictures.length > 0 && el("div", { class: "pictures" }, pictures.map(figureNode)),
    windows.length > 0 && curve(windows, methods),
    clusters.length > 0 && fold("Clusters of copies, removed by retraining", el("div", null, clusters.map(removals))),
    reasons.length > 0 && el("p", { class: "soft small" }, "Not measured here: ", reasons.join(" ")),
    fold("In words", el("ul", null, sentences.map(item))),
    fold("By kind of behavior", measures.length > 0 && tables()),
  );
});
