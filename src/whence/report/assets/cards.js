// Examples as cards: rank, score, text with marks, and where the other methods place it.

function rankText(rank) {
  return rank === null ? "\u2013" : count(rank);
}

function elsewhere(behavior, shown, current) {
  const others = DATA.methods.filter((m) => m.name !== current && of(behavior.results, m.name));
  if (!others.length) return null;
  const title = "\u2013 stands for an example without a score, or one that shares nothing with the query";
  const place = (m) => {
    const { rank } = of(shown.scores, m.name);
    const isTop = rank !== null && rank <= DATA.top_k;
    return el("span", { class: isTop ? "top" : null }, words(m.name) + " ", el("b", null, rankText(rank)));
  };
  return el("div", { class: "elsewhere" }, el("span", { title }, "Rank by the others:"), others.map(place));
}

function trained(example) {
  const parts = [];
  if (example.step !== null) parts.push("step " + count(example.step));
  if (example.position !== null) parts.push("position " + count(example.position));
  return parts.join(", ");
}

function copiesNote(entry, example) {
  const parts = [];
  if (entry.num_copies) {
    const listed = entry.copies.map(({ id, rank }) => `${id} (rank ${rankText(rank)})`).join(", ");
    const numMore = entry.num_copies - entry.copies.length;
    const more = numMore > 0 ? `, and ${numMore} more` : "";
    const summary = `\u00d7\u202f${entry.num_copies + 1} exact copies stand here`;
    parts.push(
      el(
        "details",
        { class: "small" },
        el("summary", null, summary),
        el("p", { class: "soft" }, "The others: ", said(listed + more)),
      ),
    );
  }
  if (example.num_copies > entry.num_copies + 1) {
    const all = `${count(example.num_copies)} exact copies in the corpus`;
    parts.push(el("div", { class: "small soft" }, all));
  }
  return parts;
}

function cardHead(shown, entry, example, method, { compact }) {
  const { rank, score } = of(shown.scores, method);
  const planted = "Put into the corpus on purpose, for this behavior";
  const contains = "The whole completion stands in the text";
  const label = (text) => el("span", { class: "chip", title: "known beforehand" }, said(text));
  return el(
    "header",
    null,
    el("span", { class: "place", title: "rank" }, rankText(rank)),
    el("span", { class: "score", title: "score" }, number(score)),
    shown.is_planted && el("span", { class: "chip gold", title: planted }, "planted for this"),
    entry.num_copies > 0 && el("span", { class: "chip" }, `\u00d7\u202f${entry.num_copies + 1} copies`),
    shown.answers.length > 0 && el("span", { class: "chip", title: contains }, "contains the completion"),
    !compact && example.labels.slice(0, 4).map(label),
  );
}

function card(behavior, entry, method, { compact = false } = {}) {
  const shown = behavior.shown[entry.shown];
  const example = DATA.examples[shown.example];
  const when = trained(example);
  const mask = isSensitive(behavior) || example.is_sensitive;
  return el(
    "li",
    { class: "card" + (shown.is_planted ? " gold" : ""), "data-example": shown.example },
    cardHead(shown, entry, example, method, { compact }),
    el(
      "p",
      { class: "about" },
      el("span", { class: "id" }, said(example.id)),
      example.subset && el("span", null, said(example.subset)),
      when && el("span", null, when),
      !compact && example.source && el("span", null, said(example.source)),
      !compact && el("span", null, plural(example.num_tokens, "token")),
    ),
    maskable(mask, "Text", () => body(example, shown, { compact })),
    !compact && copiesNote(entry, example),
    !compact && elsewhere(behavior, shown, method),
  );
}

function cards(behavior, entries, method, options) {
  return el(
    "ol",
    { class: "cards" },
    entries.map((entry) => card(behavior, entry, method, options)),
  );
}
