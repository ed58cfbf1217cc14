// Across behaviors: planted examples found first, agreement of methods, and hubs.

function rateCell(rate) {
  if (!rate || rate.rate === null) return el("td", { class: "soft small" }, "no gold");
  const chance = percent(rate.chance, 1);
  const title =
    `mean reciprocal rank ${number(rate.mean_reciprocal_rank)}; ` + `a random order would reach ${chance}`;
  const { low, high } = rate.interval;
  return el(
    "td",
    { class: "num", title },
    percent(rate.rate) + " ",
    el("span", { class: "soft small" }, `${rate.hits}/${rate.n}`),
    whisker(rate.rate, rate.interval),
    el("span", { class: "cell-interval" }, `${percent(low)}\u2013${percent(high)}`),
  );
}

function goldTable(rates) {
  if (!rates || !rates.length) return null;
  const kinds = KINDS.filter((kind) => rates.some((r) => r.kind === kind));
  const heads = ["Method", ...kinds].map((name) => el("th", { scope: "col" }, name));
  const row = (m) => {
    const cell = (kind) => rateCell(rates.find((r) => r.method === m.name && r.kind === kind));
    return el("tr", null, el("th", { scope: "row" }, m.label), kinds.map(cell));
  };
  const explanation =
    "Of the shown behaviors of each kind; with Wilson's 95% interval. Finding a planted example " +
    "is retrieval: it does not show that the example had an effect.";
  return [
    el("h3", null, "How often the first proponent was planted for the behavior"),
    el("p", { class: "soft" }, explanation),
    scrolled(
      "Planted examples found first",
      el("table", null, el("thead", null, el("tr", null, heads)), el("tbody", null, DATA.methods.map(row))),
    ),
  ];
}

function meanAgreement(pairs) {
  if (DATA.methods.length < 2 || !pairs.length) return null;
  return [el("h3", null, "How far the methods agree, on average"), agreementTable(pairs)];
}

function hubLinks({ behaviors, num_queries: num }) {
  const more = num - behaviors.length;
  const links = behaviors.map((id, i) => [i > 0 && ", ", viewLink({ behavior: id, method: STATE.a }, null, said(id))]);
  return fold("Its behaviors", el("p", { class: "small" }, links, more > 0 && ` and ${count(more)} more`));
}

function hubCard(hub) {
  const example = exampleAt(hub.example);
  return el(
    "li",
    { class: "card" },
    el(
      "header",
      null,
      el("strong", null, `${hub.num_queries} of ${hub.num_asked} behaviors`),
      el("span", { class: "soft small" }, plural(hub.num_groups, "kind")),
      el("span", { class: "id" }, said(example.id)),
      example.subset && el("span", { class: "soft small" }, said(example.subset)),
    ),
    maskable(example.is_sensitive, "Text", () => body(example, NO_MARKS, { compact: true })),
    hubLinks(hub),
  );
}

function hubList(hubs) {
  if (!Object.values(hubs).some((list) => list.length)) return null;
  const holder = el("div");
  const none = "No example is among the first of two behaviors by this method.";
  const draw = async () => {
    const list = of(hubs, STATE.a);
    await loadExamples(list.map(({ example }) => example));
    const cards = list.length > 0 && el("ul", { class: "cards" }, list.map(hubCard));
    holder.replaceChildren(cards || el("p", { class: "empty" }, none));
  };
  draw();
  const redraw = () => {
    draw();
    remember();
  };
  const explanation =
    "An example tied to behaviors that have nothing in common says more about the example, " +
    "or the method, than about any of them.";
  return [
    el("h3", null, "Hubs: examples that many behaviors have among their first ", count(DATA.top_k)),
    el("p", { class: "soft" }, explanation),
    el("div", { class: "controls" }, methodSelect("by", "a", redraw)),
    holder,
  ];
}

section("across", (data) => {
  const parts = [goldTable(data.gold_rates), meanAgreement(data.agreement), hubList(data.hubs)];
  if (!parts.some(Boolean)) return null;
  return el("section", { id: "across" }, el("h2", null, "Across behaviors"), parts);
});
