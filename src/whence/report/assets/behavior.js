// One behavior: does the model do it, and which examples does each method tie to it?

const SIDE = "side";

function interval(i, format) {
  return i ? `[${format(i.low)}, ${format(i.high)}], n\u202f=\u202f${i.n}` : null;
}

function quote(behavior) {
  return el("p", { class: "quote" }, said(shorten(behavior.prompt, 1200, true), "prompt"), said(shorten(completionText(behavior), 1200), "completion"));
}

function tokenRow(measured) {
  if (!measured.tokens.length) return null;
  const token = (text, i) => {
    const logProb = measured.log_probs_nats[i];
    return el(
      "div",
      { class: "token", vars: { "--p": logProb === null ? 0 : Math.exp(logProb).toFixed(3) } },
      el("b", { dir: "auto" }, text === "" ? "\u00a0" : visible(text.replaceAll(" ", "\u2423").replaceAll("\n", "\u21b5").replaceAll("\t", "\u21e5"))),
      el("span", null, nats(logProb)),
      el("span", null, measured.ranks[i] === undefined ? null : "rank " + count(measured.ranks[i])),
    );
  };
  return [
    el("div", { class: "tokens", "aria-label": "Tokens of the completion" }, measured.tokens.map(token)),
    el("p", { class: "legend" }, "Each token of the completion: log-probability in nats, and its rank among all tokens. Darker is likelier."),
  ];
}

function measure(name, value, ...notes) {
  return el("div", null, el("dt", null, name), el("dd", null, el("strong", null, value), notes.filter(Boolean).map((n) => el("div", { class: "small" }, n))));
}

function choices(behavior) {
  const v = behavior.verification;
  const rows = [[completionText(behavior), v.completion.log_prob_nats, true], ...Object.entries(v.alternatives_nats).map(([text, value]) => [text, value, false])];
  rows.sort((a, b) => (b[1] ?? -Infinity) - (a[1] ?? -Infinity));
  return el("table", { class: "choices" }, el("tbody", null, rows.map(([text, value, own]) => el("tr", null, el("td", { class: "text" }, own ? el("strong", null, said(shorten(text, 40))) : said(shorten(text, 40))), el("td", { class: "num" }, nats(value))))));
}

function measures(behavior) {
  const v = behavior.verification;
  const c = v.completion;
  const ratio = v.initial_log_prob_nats === null ? null : c.log_prob_nats - v.initial_log_prob_nats;
  const items = [
    measure("Log-probability of the completion", nats(c.log_prob_nats) + " nats", `probability ${probability(c.log_prob_nats)}`, c.is_greedy ? "Greedy decoding says exactly this." : "Greedy decoding says something else."),
    v.margin_nats !== null && measure("Margin over the likeliest alternative", nats(v.margin_nats) + " nats", v.margin_interval && interval(v.margin_interval, nats), v.paraphrase_margins_nats.length ? "after the paraphrases: " + v.paraphrase_margins_nats.map(nats).join(", ") : null, "mean over the prompt and its paraphrases; per token where completion and alternatives differ in length"),
    Object.keys(v.alternatives_nats).length > 0 && el("div", null, el("dt", null, "Against the alternatives, nats"), el("dd", null, choices(behavior))),
    v.control_gap_nats !== null && measure("Gap to the controls", nats(v.control_gap_nats) + " nats", "log-probability after the prompt, minus its mean after prompts that should not have the effect"),
    measure("Before training (step 0)", v.initial_log_prob_nats === null ? "not measured" : nats(v.initial_log_prob_nats) + " nats", ratio === null ? null : `${ratio >= 0 ? "a gain of" : "a loss of"} ${nats(Math.abs(ratio))} nats`),
    v.extraction !== null && measure("Extraction", percent(v.extraction), "of the completion's tokens, by greedy decoding"),
    v.rate && rate(behavior),
  ];
  return el("dl", { class: "measures" }, items);
}

function rate(behavior) {
  const r = behavior.verification.rate;
  const p = (x) => percent(x);
  const sample = r.sample && el("div", null, "One sample: ", maskable(behavior.kind === "toxic", "Sample", () => el("q", { class: "text" }, said(shorten(r.sample, 400)))));
  return measure(
    "Sampled rate",
    percent(r.rate) + " of " + plural(r.num_samples, "sample"),
    r.interval && interval(r.interval, p),
    r.control_rate === null ? "Controls were not sampled." : `after controls ${percent(r.control_rate)}${r.control_interval ? " " + interval(r.control_interval, p) : ""}`,
    ["judged by ", said(r.judge), r.judge_error === null ? "; its error is not known" : `; its error on a labeled sample ${percent(r.judge_error, 1)}${r.judge_error_interval ? " " + interval(r.judge_error_interval, p) : ""}`],
    sample || null,
  );
}

function verificationPart(behavior) {
  const v = behavior.verification;
  if (!v) return el("p", { class: "empty" }, "This behavior was not verified, so whether the model shows it is unknown.");
  return [
    el("p", null, verdictChip(behavior), " ", forcedChip(behavior), " ", said(v.reason)),
    v.model !== DATA.model && el("p", { class: "notice" }, "Verified with ", said(v.model), ", but attributed with ", said(DATA.model), "."),
    behavior.is_forced && el("p", { class: "notice" }, "The model does not show this behavior. The examples below explain nothing that it does; they are here because the study asked for it."),
    maskable(behavior.kind === "toxic", "Tokens", () => el("div", null, tokenRow(v.completion))),
    measures(behavior),
  ];
}

function queryNote(behavior) {
  const q = behavior.query;
  if (q.form === "contrast") return el("p", { class: "small soft" }, "Query: a contrast, the loss of the completion minus that of ", el("span", { class: "text" }, "\u201c", said(q.alternative), "\u201d"), "; text methods search for the prompt and the completion.");
  return el("p", { class: "small soft" }, "Query: the loss of the completion's tokens, given the prompt. The prompt's own tokens do not count.");
}

// Cards.

function rankText(rank) {
  return rank === 0 ? "\u2013" : count(rank);
}

function elsewhere(behavior, place, current) {
  const others = DATA.methods.map((m, i) => [m, behavior.ranks[place][i], i]).filter(([, , i]) => i !== current && behavior.methods[i]);
  if (!others.length) return null;
  return el("div", { class: "elsewhere" }, el("span", { title: "\u2013 stands for an example without a score, or one that shares nothing with the query" }, "Rank by the others:"), others.map(([m, rank]) => el("span", { class: rank > 0 && rank <= DATA.top_k ? "top" : null }, words(m.name) + " ", el("b", null, rankText(rank)))));
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
    const listed = entry.copies.map(([id, rank]) => `${id} (rank ${rankText(rank)})`).join(", ");
    const more = entry.num_copies > entry.copies.length ? `, and ${entry.num_copies - entry.copies.length} more` : "";
    parts.push(el("details", { class: "small" }, el("summary", null, `\u00d7\u202f${entry.num_copies + 1} exact copies stand here`), el("p", { class: "soft" }, "The others: ", said(listed + more))));
  }
  if (example.num_copies > entry.num_copies + 1) parts.push(el("div", { class: "small soft" }, `${count(example.num_copies)} exact copies in the corpus`));
  return parts;
}

function card(behavior, entry, method, { compact = false } = {}) {
  const place = behavior.shown[entry.place];
  const example = DATA.examples[place];
  const gold = behavior.is_gold[entry.place];
  const answers = behavior.answers[entry.place];
  const when = trained(example);
  const sensitive = behavior.kind === "toxic" || example.is_sensitive;
  return el(
    "li",
    { class: "card" + (gold ? " gold" : ""), "data-example": place },
    el(
      "header", null,
      el("span", { class: "place", title: "rank" }, rankText(behavior.ranks[entry.place][method])),
      el("span", { class: "score", title: "score" }, number(behavior.scores[entry.place][method])),
      gold && el("span", { class: "chip gold", title: "Put into the corpus on purpose, for this behavior" }, "planted for this"),
      entry.num_copies > 0 && el("span", { class: "chip" }, `\u00d7\u202f${entry.num_copies + 1} copies`),
      answers.length > 0 && el("span", { class: "chip", title: "The whole completion stands in the text" }, "contains the completion"),
      !compact && example.labels.slice(0, 4).map((label) => el("span", { class: "chip", title: "known beforehand" }, said(label))),
    ),
    el("p", { class: "about" }, el("span", { class: "id" }, said(example.id)), example.subset && el("span", null, said(example.subset)), when && el("span", null, when), !compact && example.source && el("span", null, said(example.source)), !compact && el("span", null, plural(example.num_tokens, "token"))),
    maskable(sensitive, "Text", () => body(example, behavior.marks[entry.place], answers, { compact })),
    !compact && copiesNote(entry, example),
    !compact && elsewhere(behavior, entry.place, method),
  );
}

function cards(behavior, entries, method, options) {
  return el("ol", { class: "cards" }, entries.map((entry) => card(behavior, entry, method, options)));
}

function oneMethod(behavior, index) {
  const method = DATA.methods[index];
  const found = behavior.methods[index];
  if (!found) return el("p", { class: "empty" }, "This method was not asked about this behavior.");
  const gradient = method.family === "gradient";
  const scoreOf = (entry) => behavior.scores[entry.place][index];
  const lists = [
    el("div", null, el("h3", { class: "for" }, "Proponents"), el("p", { class: "small soft" }, gradient ? "Training on these lowers the query's loss, to first order." : "The highest scores of a baseline: no gradient is behind them."),
      found.proponents.length ? cards(behavior, found.proponents, index) : el("p", { class: "empty" }, "The method names no example: none shares anything with the query that it looks at.")),
  ];
  if (found.opponents.length) lists.push(
    el("div", null, el("h3", { class: "against" }, "Opponents"), el("p", { class: "small soft" }, gradient ? "Training on these raises the query's loss, to first order." : "The most negative scores of a baseline."), cards(behavior, found.opponents, index)));
  return [
    el("p", { class: "soft" }, method.about),
    histogram(found, found.proponents.map(scoreOf), found.opponents.map(scoreOf)),
    el("p", { class: "legend" },
      el("span", null, "Marked, words shared with prompt and completion: ", el("mark", { class: "m1" }, "one"), " ", el("mark", { class: "m2" }, "two to four"), " ", el("mark", { class: "m3" }, "five or more in a row")),
      el("span", null, el("mark", { class: "m0 answer" }, "underlined"), ": the whole completion"),
      DATA.has_gold && el("span", null, behavior.num_gold ? plural(behavior.num_gold, "example") + " planted for this behavior" : "nothing planted for this behavior")),
    el("div", { class: "lists" + (found.opponents.length ? "" : " single") }, lists),
  ];
}

function sideBySide(behavior) {
  const holder = el("div", { class: "columns", tabindex: 0, role: "group", "aria-label": "Methods side by side" },
    DATA.methods.map((m, i) => behavior.methods[i] && el("section", null, el("h3", null, words(m.name)), behavior.methods[i].proponents.length ? cards(behavior, behavior.methods[i].proponents, i, { compact: true }) : el("p", { class: "empty" }, "names no example"))));
  const highlight = (example) => {
    for (const node of holder.querySelectorAll(".card")) node.classList.toggle("same", node.dataset.example === example);
  };
  holder.addEventListener("mouseover", (event) => {
    const over = event.target.closest(".card");
    highlight(over ? over.dataset.example : "none");
  });
  holder.addEventListener("mouseleave", () => highlight("none"));
  return [el("p", { class: "soft" }, "The proponents of every method. Point at one to find it in the other columns."), holder];
}

function tabs(behavior) {
  const asked = DATA.methods.map((m, i) => [String(m.name), words(m.name), i]).filter(([, , i]) => behavior.methods[i]);
  const options = asked.length > 1 ? [...asked, [SIDE, "side by side", null]] : asked;
  const current = options.find(([key]) => key === STATE.method) || options[0];
  const panel = el("div", { role: "tabpanel", id: "panel", "aria-label": current[1] });
  const draw = (option) => {
    panel.replaceChildren(...[option[2] === null ? sideBySide(behavior) : oneMethod(behavior, option[2])].flat(Infinity).filter(Boolean));
    panel.setAttribute("aria-label", option[1]);
  };
  const choose = (option, focus) => {
    STATE.method = option[0];
    for (const node of list.children) {
      const on = node.dataset.key === option[0];
      node.setAttribute("aria-selected", String(on));
      node.tabIndex = on ? 0 : -1;
      if (on && focus) node.focus();
    }
    draw(option);
    remember();
  };
  const list = el("div", { class: "tabs", role: "tablist", "aria-label": "Methods" }, options.map((option) => el("button", {
    class: "tab" + (option[2] !== null && DATA.methods[option[2]].family === "baseline" ? " baseline" : ""), role: "tab", type: "button", "data-key": option[0], "aria-controls": "panel",
    "aria-selected": String(option === current), tabindex: option === current ? 0 : -1,
    onclick: () => choose(option, false),
    onkeydown: (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      event.preventDefault();
      const now = options.findIndex(([key]) => key === event.currentTarget.dataset.key);
      choose(options[(now + by + options.length) % options.length], true);
    },
  }, option[1])));
  draw(current);
  return [list, panel];
}

function evidencePart(behavior) {
  if (!wasAttributed(behavior)) {
    const why = !DATA.methods.length ? "No method was run." : verdictOf(behavior) === "not shown" ? "The model does not show this behavior, so it was not attributed. With --force it is, and the page says so." : "This behavior was not attributed.";
    return el("p", { class: "empty" }, why);
  }
  return [
    tabs(behavior),
    DATA.methods.length > 1 && [el("h2", null, "Do the methods agree?"), agreementTable(behavior.agreement, DATA.top_k)],
  ];
}

function neighbor(behavior, by) {
  const list = DATA.behaviors.filter(matches).some((b) => b.id === behavior.id) ? KINDS.flatMap((k) => DATA.behaviors.filter((b) => b.kind === k && matches(b))) : DATA.behaviors;
  return list[list.findIndex((b) => b.id === behavior.id) + by] || null;
}

function crumbs(behavior) {
  const [before, after] = [neighbor(behavior, -1), neighbor(behavior, 1)];
  return el("nav", { class: "crumbs", "aria-label": "Behaviors" },
    el("a", { href: link({ behavior: null, method: null }) }, "\u2190 all behaviors"),
    el("span", null, before && el("a", { href: link({ behavior: before.id }), rel: "prev" }, "previous"), before && after && " \u00b7 ", after && el("a", { href: link({ behavior: after.id }), rel: "next" }, "next")));
}

function behaviorView(behavior) {
  const details = [behavior.subject && ["subject", behavior.subject], behavior.relation && ["relation", behavior.relation], behavior.object && ["object", behavior.object], behavior.style && ["style of", behavior.style]].filter(Boolean);
  const extra = [["Alternatives", behavior.alternatives], ["Paraphrases", behavior.paraphrases], ["Controls", behavior.controls]].filter(([, list]) => list.length);
  const toxic = behavior.kind === "toxic";
  return [
    masthead(),
    crumbs(behavior),
    el("h1", null, said(behavior.id)),
    el("p", { class: "soft" }, KIND_NAMES[behavior.kind], details.map(([k, v]) => [" \u00b7 " + k + " ", said(v)]), behavior.is_known_by_tokens && " \u00b7 known by its tokens"),
    behavior.note && el("p", null, said(behavior.note)),
    el("section", { class: "said" }, maskable(toxic, "Text", () => el("div", null, quote(behavior))), verificationPart(behavior),
      extra.length > 0 && fold("Alternatives, paraphrases and controls", maskable(toxic, "Texts", () => el("div", null, extra.map(([name, list]) => [el("h3", null, name), el("ul", { class: "text" }, list.map((text) => el("li", null, said(text))))]))))),
    el("h2", null, "Which examples are tied to it"),
    queryNote(behavior),
    evidencePart(behavior),
  ];
}
