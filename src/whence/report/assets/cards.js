// Examples as cards: rank, relation, strength, text with marks, and where other methods place it.

function rankText(rank) {
  return rank === null ? "\u2013" : count(rank);
}

function methodLabel(name) {
  return findMethod(name)?.label ?? words(name ?? "");
}

// The method whose rank stands beside the list's own.
function besideMethod(behavior, method) {
  const wanted = [STATE.b, STATE.a, ...DATA.methods.map((m) => m.name)];
  return wanted.find((name) => name !== method && of(behavior.results, name)) ?? null;
}

function elsewhere(behavior, shown, method) {
  const beside = besideMethod(behavior, method);
  if (beside === null) return null;
  const place = (name) => {
    const rank = of(shown.ranks, name);
    const isTop = rank !== null && rank <= DATA.top_k;
    return el("span", { class: isTop ? "top" : null }, methodLabel(name) + " ", el("b", null, rankText(rank)));
  };
  const others = DATA.methods
    .map((m) => m.name)
    .filter((name) => name !== method && name !== beside && of(behavior.results, name));
  const none = "\u2013 stands for an example without a score, or one that shares nothing with the query.";
  return el(
    "div",
    { class: "elsewhere" },
    el("span", { title: none }, "Rank by ", place(method), ", by ", place(beside)),
    others.length > 0 &&
      fold("all methods", el("p", { class: "others" }, others.map(place), el("span", null, none))),
  );
}

function trained(example) {
  const parts = [];
  if (example.step !== null) parts.push("step " + count(example.step));
  if (example.position !== null) parts.push("position " + count(example.position));
  return parts.join(", ");
}

function copyWords({ num_copies: numCopies, num_exact: numExact }) {
  const numNear = numCopies - numExact;
  const parts = [];
  if (numExact) parts.push(plural(numExact, "exact copy", "exact copies"));
  if (numNear) parts.push(plural(numNear, "near copy", "near copies"));
  return parts.join(" and ");
}

function copiesNote(entry, example) {
  const parts = [];
  if (entry.num_copies) {
    const listed = entry.copies.map(({ id, rank }) => `${id} (rank ${rankText(rank)})`).join(", ");
    const numMore = entry.num_copies - entry.copies.length;
    const more = numMore > 0 ? `, and ${numMore} more` : "";
    const summary = `${copyWords(entry)} of it ${entry.num_copies === 1 ? "stands" : "stand"} here as well`;
    parts.push(fold(summary, el("p", { class: "soft small" }, said(listed + more))));
  }
  const inCorpus = [];
  if (example.num_copies > 1) inCorpus.push(plural(example.num_copies, "example") + " with exactly this text");
  if (example.num_near > 1 && example.num_near > example.num_copies) {
    inCorpus.push(plural(example.num_near, "example") + " in its cluster of copies and near copies");
  }
  if (inCorpus.length && Math.max(example.num_copies, example.num_near ?? 0) > entry.num_copies + 1) {
    parts.push(el("p", { class: "soft small" }, "The corpus has " + inCorpus.join(", ") + "."));
  }
  return parts;
}

function clusterChip(entry) {
  if (!entry.num_copies) return null;
  const title = `one of ${entry.num_copies + 1}: this one, ${copyWords(entry)}`;
  return el("span", { class: "chip", title }, `\u00d7\u202f${entry.num_copies + 1}: ${copyWords(entry)}`);
}

function cardHead(shown, entry, method, place) {
  const planted = "Put into the corpus on purpose, for this behavior";
  const templated = "They agree once numbers, identifiers and names are masked.";
  const isTemplated = shown.tie?.is_templated && shown.tie.relation !== "templated";
  return el(
    "header",
    null,
    el("span", { class: "place", title: "rank" }, place ?? rankText(of(shown.ranks, method))),
    shown.tie && relationChip(shown.tie),
    isTemplated && el("span", { class: "chip", title: templated }, "templated"),
    isHub(entry) && el("span", { class: "chip warn", title: GLOSSARY.hub }, "hub"),
    clusterChip(entry),
    shown.is_planted && el("span", { class: "chip gold", title: planted }, "planted for this"),
    el("span", { class: "score", title: "score" }, number(entry.score)),
  );
}

function about(example, { compact }) {
  const when = trained(example);
  const label = (text) => el("span", { class: "label", title: "known beforehand" }, said(text));
  return el(
    "p",
    { class: "about" },
    el("span", { class: "id" }, said(example.id)),
    example.subset && el("span", null, said(example.subset)),
    when && el("span", null, when),
    !compact && example.source && el("span", null, said(example.source)),
    !compact && el("span", null, plural(example.num_tokens, "token")),
    !compact && example.labels.slice(0, 4).map(label),
  );
}

// An opponent that copies, states or completes the behavior is worth a remark.
function completionNote(shown, isAgainst) {
  const hasCompletion = shown.answers.length > 0;
  const isCopy = shown.tie !== null && relationKind(shown.tie.relation)?.tier === "copy";
  const what = hasCompletion ? "It contains the whole completion" : "Its text is a copy or near to one";
  if (isAgainst && (hasCompletion || isCopy)) {
    const remark = `${what}, and the method counts it against the behavior all the same.`;
    return el("p", { class: "strength against" }, remark);
  }
  return hasCompletion && el("p", { class: "strength" }, "It contains the whole completion.");
}

function isFaint(shown) {
  return shown.tie !== null && relationKind(shown.tie.relation)?.tier === "none";
}

// `place` is given for opponents, which are counted from the end.
function card(behavior, entry, method, { compact = false, place = null } = {}) {
  const shown = detailOf(behavior).shown[entry.shown];
  const example = exampleAt(shown.example);
  const mask = isSensitive(behavior) || example.is_sensitive;
  const text = () =>
    el(
      "div",
      null,
      !compact && tieDetail(shown.tie),
      body(example, shown, { compact }),
      !compact && splitPart(shown, example, method),
    );
  const cls = ["card", shown.is_planted && "gold", isFaint(shown) && "faint"].filter(Boolean).join(" ");
  return el(
    "li",
    { class: cls, "data-example": shown.example },
    cardHead(shown, entry, method, place),
    about(example, { compact }),
    maskable(mask, "Text", text),
    !compact && locateButton(behavior, entry.shown),
    completionNote(shown, place !== null),
    !compact && strengthNote(entry, of(behavior.results, method)),
    !compact && effectNote(behavior, shown),
    !compact && hubNote(entry),
    !compact && copiesNote(entry, example),
    !compact && elsewhere(behavior, shown, method),
  );
}

// Longer lists are drawn as far as most readers read, and to the end when asked.
const MOST_LISTED = 20;

// `of` is the whole list, where some are left out.
function cards(behavior, entries, method, { isAgainst = false, of: all = entries, ...options } = {}) {
  const place = (entry) => (isAgainst ? MINUS + (all.indexOf(entry) + 1) : null);
  const item = (entry) => card(behavior, entry, method, { ...options, place: place(entry) });
  const rest = entries.slice(MOST_LISTED);
  const list = el("ol", { class: "cards" }, entries.slice(0, MOST_LISTED).map(item));
  if (!rest.length) return list;
  const showAll = (event) => {
    event.target.remove();
    add(list, rest.map(item));
    list.children[MOST_LISTED].tabIndex = -1;
    list.children[MOST_LISTED].focus({ preventScroll: true });
  };
  const label = `Show the other ${count(rest.length)}`;
  return [list, el("button", { class: "toggle", type: "button", onclick: showAll }, label)];
}
