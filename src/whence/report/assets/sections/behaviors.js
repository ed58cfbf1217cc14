// A card for each behavior, with filters.

function toggles(label, key, options, redraw) {
  const choose = (value) => (event) => {
    STATE[key] = STATE[key] === value ? null : value;
    const button = event.currentTarget;
    for (const other of button.parentNode.children) other.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-pressed", String(STATE[key] === value));
    redraw();
  };
  const button = ({ value, name, hint }) => {
    const isOn = String(STATE[key] === value);
    const props = {
      class: "toggle",
      type: "button",
      title: hint,
      "aria-pressed": isOn,
      onclick: choose(value),
    };
    return el("button", props, name);
  };
  return el("div", { class: "group", role: "group", "aria-label": label }, options.map(button));
}

function quoteLink(behavior, isMasked) {
  const texts = () => [
    said(shorten(behavior.prompt, 130, true), "prompt"),
    said(shorten(completionText(behavior), 90), "completion"),
  ];
  // A link opens the list that the filters are about.
  const method = STATE.preset && PRESETS[STATE.preset].by ? listMethod() : null;
  const masked = () => [el("span", { class: "soft" }, "masked text, "), said(behavior.id)];
  return viewLink({ behavior: behavior.id, method }, { class: "says" }, isMasked ? masked() : texts());
}

// Whole lists of the two compared methods, or what the filters keep of one.
function barsOf(behavior) {
  if (isNarrowed()) {
    const method = listMethod();
    const entries = keptEntries(behavior);
    return methodBar(method, countRelations(behavior, entries), count(entries.length));
  }
  const names = [...new Set([STATE.a, STATE.b])].filter((name) => of(behavior.results, name)?.relations);
  return names.map((name) => methodBar(name, of(behavior.results, name).relations));
}

function firstExample(behavior, isMasked) {
  const entry = keptEntries(behavior)[0];
  if (!entry) return null;
  const first = behavior.firsts[entry.shown];
  const isHidden = isMasked || (first.is_sensitive && STATE.mask);
  const text = () => el("span", { class: "text", dir: "auto" }, excerpt(first.excerpt));
  const what = STATE.preset || isNarrowed() ? "First of them: " : `First by ${methodLabel(STATE.a)}: `;
  return el(
    "p",
    { class: "first" },
    el("span", { class: "soft" }, what),
    isHidden ? el("span", { class: "soft" }, "masked text") : text(),
  );
}

// Some method lists an example whose effect was confirmed and that nothing visible ties to it.
function surpriseChip(behavior) {
  const lists = Object.values(behavior.results).filter(({ relations }) => relations && of(relations, SURPRISE));
  if (!lists.length) return null;
  const title = relationKind(SURPRISE).rule;
  return el("span", { class: "chip tier effect", title, "aria-description": title }, "surprise");
}

function verdictCard(behavior) {
  const isMasked = isSensitive(behavior) && STATE.mask;
  const result = of(behavior.results, STATE.a);
  const unnamed = `${methodLabel(STATE.a)} did not score it.`;
  const note = wasAttributed(behavior) ? !result && unnamed : behavior.not_attributed;
  const facts = () => [
    result.summary && el("p", { class: "summary" }, result.summary),
    HAS_EVIDENCE && el("div", { class: "bars" }, barsOf(behavior)),
    result.gap && el("p", { class: "small soft" }, result.gap.sentence, " ", betterHere(result.gap)),
    firstExample(behavior, isMasked),
  ];
  return el(
    "li",
    { class: "verdict" + (isShown(behavior) ? "" : " absent") },
    el(
      "p",
      { class: "meta" },
      el("span", null, kindOf(behavior).label),
      verdictChip(behavior),
      forcedChip(behavior),
      surpriseChip(behavior),
      el("span", { class: "id" }, said(behavior.id)),
    ),
    el("h3", null, quoteLink(behavior, isMasked)),
    result && facts(),
    note && el("p", { class: "small soft" }, note),
  );
}

// A reader who wants all of many cards asks for them.
const MOST_CARDS = 40;
let isWhole = false;

function verdictCards(list, redraw) {
  if (!BEHAVIORS.length) return el("p", { class: "empty" }, "There are no behaviors in this run.");
  if (!list.length) {
    const reset = () => {
      Object.assign(STATE, { q: "", kind: null, verdict: null, preset: null, hubs: null, subset: null, time: null });
      render();
    };
    const button = el("button", { class: "link", type: "button", onclick: reset }, "Show all");
    return el("p", { class: "empty" }, "No behavior matches. ", button);
  }
  const first = isWhole ? list : list.slice(0, MOST_CARDS);
  const more = list.length - first.length;
  const showAll = () => {
    isWhole = true;
    redraw();
  };
  const button = () =>
    el("button", { class: "toggle", type: "button", onclick: showAll }, `Show the other ${count(more)}`);
  return [el("ul", { class: "verdicts" }, first.map(verdictCard)), more > 0 && el("p", null, button())];
}

function metrics(list) {
  const total = plural(BEHAVIORS.length, "behavior");
  const shared = mean(list.map(pairAgreement));
  const planted = list
    .filter(isShown)
    .map((b) => firstIsPlanted(b, STATE.a))
    .filter((isPlanted) => isPlanted !== null);
  const share = `${planted.filter(Boolean).length} of ${planted.length}`;
  return el(
    "p",
    { class: "metrics" },
    el("strong", null, list.length === BEHAVIORS.length ? total : `${list.length} of ${total}`),
    `, ${list.filter(isShown).length} shown`,
    planted.length > 0 && [" \u00b7 first proponent planted for ", el("strong", null, share), " shown ones"],
    shared !== null && [
      " \u00b7 mean ",
      term("Jaccard@k", "Jaccard@" + DATA.top_k),
      " ",
      el("strong", null, shared.toFixed(2)),
    ],
  );
}

// What the kept examples of the listed behaviors are, all together.
function relationsOf(list) {
  if (!HAS_EVIDENCE) return null;
  const counts = {};
  for (const behavior of list) {
    for (const [name, n] of Object.entries(countRelations(behavior, keptEntries(behavior)))) {
      counts[name] = (counts[name] ?? 0) + n;
    }
  }
  const num = Object.values(counts).reduce((sum, n) => sum + n, 0);
  const who = methodLabel(listMethod());
  return [
    el(
      "p",
      { class: "metrics" },
      el("strong", null, plural(num, "example")),
      ` that ${who} lists first, copies counted once`,
      num > 0 && ": " + relationWords(counts),
    ),
    relationBar(counts, who),
  ];
}

function header(list) {
  return el("div", { class: "figures", role: "status" }, metrics(list), relationsOf(list));
}

function search(redraw) {
  const label = "Search behaviors";
  return el("input", {
    type: "search",
    id: "search",
    placeholder: label,
    "aria-label": label,
    value: STATE.q,
    oninput: (event) => {
      STATE.q = event.target.value;
      redraw();
    },
  });
}

function subsetSelect(redraw) {
  const choose = (event) => {
    STATE.subset = event.target.value || null;
    redraw();
  };
  const option = (name, label) => el("option", { value: name, selected: (STATE.subset ?? "") === name }, label);
  const options = [option("", "any"), ...SUBSETS.map((name) => option(name, name))];
  return el("label", null, "Subset ", el("select", { onchange: choose }, options));
}

function controls(redraw) {
  const kinds = KINDS.filter((kind) => BEHAVIORS.some((b) => b.kind === kind));
  const verdicts = DATA.verdicts.map((v) => v.name).filter((v) => BEHAVIORS.some((b) => verdictOf(b) === v));
  const named = (names) => names.map((name) => ({ value: name, name }));
  const presets = Object.entries(PRESETS)
    .filter(([, { applies }]) => applies)
    .map(([value, { name, hint }]) => ({ value, name: name(), hint }));
  const hubs = [{ value: "hidden", name: "hubs hidden", hint: GLOSSARY.hub }];
  const times = Object.entries(TIMES).map(([value, { name, hint }]) => ({ value, name, hint }));
  const orders = [{ value: "study", name: "in the study's order", hint: "By kind, as the study lists them." }];
  return [
    el(
      "div",
      { class: "controls" },
      search(redraw),
      kinds.length > 1 && toggles("Kind", "kind", named(kinds), redraw),
      toggles("Verdict", "verdict", named(verdicts), redraw),
    ),
    DATA.methods.length > 0 &&
      el(
        "div",
        { class: "controls" },
        methodSelect("Examples by", "a", render),
        DATA.methods.length > 1 && methodSelect("beside", "b", render),
        presets.length > 0 && toggles("Presets", "preset", presets, redraw),
        DATA.reading.num_null > 0 && toggles("Hubs", "hubs", hubs, redraw),
        SUBSETS.length > 1 && subsetSelect(redraw),
        HAS_TIMES && toggles("Time", "time", times, redraw),
        HAS_EVIDENCE && toggles("Order", "sort", orders, redraw),
      ),
  ];
}

section("behaviors", () => {
  const holder = el("div");
  const redraw = () => {
    const list = listedBehaviors();
    holder.replaceChildren();
    add(holder, [header(list), verdictCards(list, redraw)]);
    remember();
  };
  const filters = BEHAVIORS.length > 1 && controls(redraw);
  redraw();
  const order =
    "Sorted by what is most worth reading: first where examples have no visible tie, noise left out, " +
    "then where the method and search have least in common.";
  return el(
    "section",
    { id: "behaviors" },
    el("h2", null, "Behaviors"),
    HAS_EVIDENCE && el("p", { class: "soft small" }, order),
    filters,
    holder,
  );
});
