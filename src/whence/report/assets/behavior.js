// One behavior: what was measured of it, and which examples each method ties to it.

const SIDE = "side";

// Draws the lists of the view again, as they are filtered now; `tabs` says how.
let redrawLists = () => undefined;

function queryNote(behavior) {
  const { query } = behavior;
  if (!query.is_contrast) {
    const plain = "Query: the loss of the completion's tokens, given the prompt. ";
    return el("p", { class: "small soft" }, plain + "The prompt's own tokens do not count.");
  }
  return el(
    "p",
    { class: "small soft" },
    "Query: a contrast, the loss of the completion minus that of ",
    maskable(isSensitive(behavior), "Alternative", () =>
      el("span", { class: "text" }, "\u201c", said(query.alternative), "\u201d"),
    ),
    "; text methods search for the prompt and the completion.",
  );
}

function legend(behavior) {
  const numPlanted = behavior.num_planted;
  const planted = numPlanted
    ? plural(numPlanted, "example") + " planted for this behavior"
    : "nothing planted for this behavior";
  const mark = (cls, text) => el("mark", { class: cls }, text);
  return el(
    "p",
    { class: "legend" },
    el(
      "span",
      null,
      "Marked, words shared with prompt and completion: ",
      mark("m1", "one"),
      " ",
      mark("m2", "two to four"),
      " ",
      mark("m3", "five or more in a row"),
    ),
    el("span", null, mark("m0 answer", "underlined"), ": the whole completion"),
    numPlanted !== null && el("span", null, planted),
  );
}

// The answer to "better than search here?", as far as it was measured.
function betterHere({ other, lead }) {
  const question = of(DATA.reading, "search") === other ? `Better than ${methodLabel(other)} here? ` : "";
  return [el("strong", null, question), lead];
}

function sumUp(behavior, method) {
  const result = of(behavior.results, method.name);
  if (!result.summary) {
    const why =
      "The run's evidence is not about these scores: what ties an example to the behavior is known only " +
      "where another method lists it as well.";
    return HAS_EVIDENCE && el("p", { class: "empty" }, why);
  }
  const names = [method.name, result.gap?.other].filter((name) => of(behavior.results, name ?? null)?.relations);
  const rows = names.map((name) => methodBar(name, of(behavior.results, name).relations));
  const num = Object.values(result.relations).reduce((sum, n) => sum + n, 0);
  const strength =
    result.num_above_null !== null &&
    el(
      "p",
      null,
      `${result.num_above_null} of ${num} are `,
      term("stronger than chance"),
      `, compared with ${result.num_null} unrelated queries of its length.`,
    );
  return el(
    "section",
    { class: "sum", "aria-label": "Summary" },
    el("p", { class: "summary" }, result.summary),
    el("div", { class: "bars" }, rows),
    tierLegend(names.map((name) => of(behavior.results, name).relations)),
    result.gap && el("p", null, result.gap.sentence, " ", betterHere(result.gap)),
    strength,
    result.steps && el("p", null, result.steps),
  );
}

// How the list changes when the same is said in plain words; masked where the words are.
function plainWords(behavior, method) {
  const { style } = of(behavior.results, method.name);
  if (!style.length || behavior.plain === null) return null;
  const quoted = () => el("q", { class: "text" }, said(behavior.plain.trim()));
  return fold(
    "Style against content",
    el(
      "div",
      null,
      el("p", { class: "small soft" }, "The same in plain words: ", maskable(isSensitive(behavior), "Words", quoted)),
      el("ul", null, style.map((text) => el("li", null, sentence(text)))),
    ),
  );
}

// Which of a method's examples are shown; the buttons hold for every behavior.
function exampleFilters(behavior, method, redraw) {
  const { gap } = of(behavior.results, method.name);
  const { proponents } = of(detailOf(behavior).lists, method.name);
  const toggle = (key, value, name, hint) => {
    const choose = () => {
      STATE[key] = STATE[key] === value ? null : value;
      redraw();
      remember();
    };
    const pressed = String(STATE[key] === value);
    const props = { class: "toggle", type: "button", title: hint, "aria-pressed": pressed, onclick: choose };
    return el("button", props, name);
  };
  const only = method.name === DATA.reading.search ? "search" : "only";
  const preset = (key, name) => toggle("preset", key, name ?? PRESETS[key].name(), PRESETS[key].hint);
  const numKept = proponents.filter((entry) => isKept(behavior, entry) && hasSpan(behavior, entry)).length;
  return el(
    "div",
    { class: "controls" },
    el(
      "div",
      { class: "group", role: "group", "aria-label": "Which examples" },
      preset("untied"),
      gap && preset(only, "not listed by " + methodLabel(gap.other)),
      preset("exact"),
      DATA.reading.num_null > 0 && toggle("hubs", "hidden", "hubs hidden", GLOSSARY.hub),
      HAS_TIMES && Object.entries(TIMES).map(([time, { name, hint }]) => toggle("time", time, name, hint)),
    ),
    STATE.subset && toggle("subset", STATE.subset, "only of " + STATE.subset),
    numKept < proponents.length &&
      el("span", { class: "soft", role: "status" }, `${numKept} of ${proponents.length} shown`),
  );
}

function proponentList(behavior, method) {
  const { proponents } = of(detailOf(behavior).lists, method.name);
  if (!proponents.length) {
    const none = "The method names no example: none shares anything with the query that it looks at.";
    return el("p", { class: "empty" }, none);
  }
  const holder = el("div");
  const draw = () => {
    const kept = proponents.filter((entry) => isKept(behavior, entry) && hasSpan(behavior, entry));
    holder.replaceChildren();
    add(holder, [
      HAS_EVIDENCE && exampleFilters(behavior, method, draw),
      kept.length ? cards(behavior, kept, method.name) : el("p", { class: "empty" }, "No example is left."),
    ]);
  };
  draw();
  return holder;
}

function opponentList(behavior, opponents, method) {
  const kept = opponents.filter((entry) => hasSpan(behavior, entry));
  if (!kept.length) return el("p", { class: "empty" }, "No example is left.");
  return cards(behavior, kept, method.name, { isAgainst: true, of: opponents });
}

function oneMethod(behavior, method) {
  const { proponents, opponents, ...scored } = of(detailOf(behavior).lists, method.name);
  const scoreOf = (entry) => entry.score;
  const against = "The most negative scores, counted from the end.";
  const lists = [
    el(
      "div",
      null,
      el("h3", { class: "for" }, "Proponents"),
      el("p", { class: "small soft" }, "Higher means: " + method.higher_means + "."),
      proponentList(behavior, method),
    ),
    opponents.length > 0 &&
      el(
        "div",
        null,
        el("h3", { class: "against" }, "Opponents"),
        el("p", { class: "small soft" }, against),
        opponentList(behavior, opponents, method),
      ),
  ];
  return [
    el("p", { class: "soft" }, method.about),
    splitNote(method),
    sumUp(behavior, method),
    plainWords(behavior, method),
    fold("Scores of all examples", histogram(scored, proponents.map(scoreOf), opponents.map(scoreOf))),
    legend(behavior),
    spanNote(behavior, () => redrawLists()),
    el("div", { class: "lists" + (opponents.length ? "" : " single") }, lists),
    HAS_EVIDENCE && glossary(),
  ];
}

// One tab per method that scored the behavior, and one for all of them side by side.
function tabs(behavior) {
  const scored = DATA.methods.filter((m) => of(behavior.results, m.name));
  const options = scored.map((m) => ({ key: m.name, name: m.label, method: m }));
  const hasOther = scored.length > 1 || BEHAVIORS.filter(wasAttributed).length > 1;
  if (hasOther) options.push({ key: SIDE, name: "side by side", method: null });
  const current = options.find((option) => option.key === STATE.method) || options[0];
  const panel = el("div", { role: "tabpanel", id: "panel", "aria-label": current.name });
  const list = el("div", { class: "tabs", role: "tablist", "aria-label": "Methods" });
  const draw = (option) => {
    panel.replaceChildren();
    add(panel, option.method ? oneMethod(behavior, option.method) : sideBySide(behavior, () => redrawLists()));
    panel.setAttribute("aria-label", option.name);
  };
  const choose = (option, focus) => {
    STATE.method = option.key;
    for (const node of list.children) {
      const on = node.dataset.key === option.key;
      node.setAttribute("aria-selected", String(on));
      node.tabIndex = on ? 0 : -1;
      if (on && focus) node.focus();
    }
    draw(option);
    remember();
  };
  const walk = (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const now = options.findIndex((option) => option.key === event.currentTarget.dataset.key);
    choose(options[(now + by + options.length) % options.length], true);
  };
  const tab = (option) =>
    el(
      "button",
      {
        class: "tab" + (option.method?.is_baseline ? " baseline" : ""),
        role: "tab",
        type: "button",
        "data-key": option.key,
        "aria-controls": "panel",
        "aria-selected": String(option === current),
        tabindex: option === current ? 0 : -1,
        onclick: () => choose(option, false),
        onkeydown: walk,
      },
      option.name,
    );
  add(list, options.map(tab));
  draw(current);
  redrawLists = () => draw(options.find((option) => option.key === STATE.method) || options[0]);
  return [list, panel];
}

// What every method lists first, each a way to its list.
function everyMethod(behavior, open) {
  const known = DATA.methods.filter((m) => of(behavior.results, m.name)?.relations);
  if (known.length < 2) return null;
  const row = (m) => {
    const { relations, num_above_null: above } = of(behavior.results, m.name);
    const props = { class: "link", type: "button", title: m.about, onclick: () => open(m.name) };
    const name = el("button", props, m.label);
    const note = above === null ? null : `${above} above chance`;
    return el(
      "div",
      { class: "barrow" },
      el("span", { class: "name" }, name),
      relationBar(relations, m.label),
      el("span", { class: "note num" }, note),
    );
  };
  const lists = known.map((m) => of(behavior.results, m.name).relations);
  const rows = el("div", { class: "bars" }, known.map(row));
  return fold(`What each of ${known.length} methods lists first`, el("div", null, tierLegend(lists), rows));
}

function evidencePart(behavior) {
  if (!wasAttributed(behavior)) return el("p", { class: "empty" }, behavior.not_attributed);
  const agreement = [el("h2", null, "Do the methods agree?"), agreementTable(behavior.agreement)];
  const open = (name) => document.querySelector(`[role=tab][data-key="${CSS.escape(name)}"]`)?.click();
  return [everyMethod(behavior, open), tabs(behavior), DATA.methods.length > 1 && agreement];
}

function crumbs(behavior) {
  const [before, after] = [neighbor(behavior, -1), neighbor(behavior, 1)];
  const step = (to, rel, name) => to && viewLink({ behavior: to.id }, { rel }, name);
  return el(
    "nav",
    { class: "crumbs", "aria-label": "Behaviors" },
    viewLink({ behavior: null, method: null }, null, "\u2190 all behaviors"),
    el(
      "span",
      null,
      step(before, "prev", "previous"),
      before && after && " \u00b7 ",
      step(after, "next", "next"),
    ),
  );
}

function otherTexts(behavior) {
  const lists = [
    ["Alternatives", behavior.alternatives],
    ["Paraphrases", behavior.paraphrases],
    ["Controls", behavior.controls],
    ["Counterparts", behavior.counterparts],
  ].filter(([, texts]) => texts.length);
  if (!lists.length) return null;
  const item = (text) => el("li", null, said(text));
  const all = () =>
    el(
      "div",
      null,
      lists.map(([name, texts]) => [el("h3", null, name), el("ul", { class: "text" }, texts.map(item))]),
    );
  return fold("Alternatives, paraphrases and controls", maskable(isSensitive(behavior), "Texts", all));
}

function behaviorView(behavior) {
  const { subject, relation, object, style } = behavior;
  const details = Object.entries({ subject, relation, object, "style of": style }).filter(([, v]) => v);
  return [
    crumbs(behavior),
    el("h1", null, said(behavior.id)),
    el(
      "p",
      { class: "soft" },
      kindOf(behavior).label,
      !(isSensitive(behavior) && STATE.mask) && details.map(([k, v]) => [" \u00b7 " + k + " ", said(v)]),
      behavior.is_known_by_tokens && " \u00b7 known by its tokens",
    ),
    behavior.note && maskable(isSensitive(behavior), "Note", () => el("p", null, said(behavior.note))),
    el(
      "section",
      { class: "said" },
      maskable(isSensitive(behavior), "Text", () => el("div", null, quote(behavior, () => redrawLists()))),
      verificationPart(behavior),
      otherTexts(behavior),
    ),
    el("h2", null, "Which examples are tied to it"),
    queryNote(behavior),
    evidencePart(behavior),
  ];
}
