// The answer first: sentences, and what ties the examples of each kind of behavior.

// Opens what a sentence counts.
function more({ link: id, preset }) {
  if (id === null || !DATA.sections.some((s) => s.name === id)) return null;
  const isFilter = preset !== null && Object.hasOwn(PRESETS, preset) && PRESETS[preset].applies;
  if (!isFilter) return [" ", sectionLink(id, null, "More")];
  return [" ", viewLink({ at: id, preset }, null, "Show them")];
}

function kindRows(byKind) {
  const row = ({ method, relations }) => {
    const total = Object.values(relations).reduce((sum, n) => sum + n, 0);
    return methodBar(method, relations, count(total));
  };
  const group = (kind) => {
    const rows = byKind.filter((one) => one.kind === kind.name);
    if (!rows.length) return null;
    const num = Math.max(...rows.map((one) => one.num_behaviors));
    const head = [kind.label, " ", el("span", { class: "soft small" }, plural(num, "behavior"))];
    return el("div", { class: "kind" }, el("h3", null, head), rows.map(row));
  };
  return DATA.kinds.map(group);
}

section("findings", ({ findings, by_kind: byKind }) => {
  const [first, ...rest] = findings;
  const item = (finding) => {
    const topic = el("strong", null, finding.topic + ". ");
    return el("li", null, topic, said(sentence(finding.text)), more(finding));
  };
  const title = `What the first ${DATA.reading.num_first} examples of each list are, by kind`;
  return el(
    "section",
    { id: "findings", class: "findings" },
    el("p", { class: "lede" }, said(sentence(first.text))),
    rest.length > 0 && el("ul", null, rest.map(item)),
    byKind.length > 0 && [
      el("h2", null, title),
      tierLegend(byKind.map((one) => one.relations)),
      el("div", { class: "kinds" }, kindRows(byKind)),
    ],
    byKind.length > 0 && glossary(),
  );
});
