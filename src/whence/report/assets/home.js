// The first view: what was asked, of whom, how it was looked for, and every behavior's verdict.

const KINDS = ["fact", "stereotype", "memorized", "toxic", "style"];
const KIND_NAMES = { fact: "Facts", stereotype: "Stereotypes", memorized: "Memorized passages", toxic: "Toxic", style: "Style" };
const VERDICTS = ["shown", "weak", "not shown"];

function verdictOf(behavior) {
  return behavior.verification ? behavior.verification.verdict : null;
}

function verdictChip(behavior) {
  const verdict = verdictOf(behavior);
  return el("span", { class: "chip " + (verdict || "").replace(" ", "-") }, verdict || "not verified");
}

function forcedChip(behavior) {
  return behavior.is_forced && el("span", { class: "chip forced", title: "The model does not show this behavior; it was attributed because the study asked for it." }, "forced");
}

function wasAttributed(behavior) {
  return behavior.methods.some((m) => m !== null);
}

function completionText(behavior) {
  if (behavior.completion) return behavior.completion;
  return behavior.verification ? behavior.verification.completion.tokens.join("") : "";
}

function shorten(text, limit, keepEnd) {
  const points = Array.from(text);
  if (points.length <= limit) return text;
  return keepEnd ? "\u2026" + points.slice(-limit).join("") : points.slice(0, limit).join("") + "\u2026";
}

function fact(name, value, ...notes) {
  return el("div", null, el("dt", null, name), el("dd", null, el("strong", null, value), notes.filter(Boolean).map((n) => el("p", null, n))));
}

function facts() {
  const { corpus, coverage, plan } = DATA;
  const searched = corpus.searched_fraction === null ? "How much of the training data this is, is not known." : percent(corpus.searched_fraction, corpus.searched_fraction < 0.1 ? 2 : 0) + " of the training data was searched.";
  const dropped = [
    corpus.num_truncated_tokens ? plural(corpus.num_truncated_tokens, "token") + " of long documents cut off" : null,
    corpus.num_empty ? plural(corpus.num_empty, "empty document") : null,
  ].filter(Boolean);
  const facts = [
    fact("Model", said(DATA.model), modelNote()),
    fact(
      "Corpus",
      said(corpus.name),
      plural(corpus.num_examples, "example") + ", " + plural(corpus.num_tokens, "token") + (corpus.subsets.length > 1 ? ", " + plural(corpus.subsets.length, "subset") : ""),
      dropped.length ? dropped.join("; ") + "." : null,
    ),
    fact("Pool that was searched", plural(corpus.num_examples, "example"), corpus.description ? said(corpus.description) : null, searched + " Not found is not absent."),
  ];
  if (coverage) {
    const share = coverage.num_parameters ? coverage.num_attributed / coverage.num_parameters : null;
    const left = Object.entries(coverage.parts_left_out).map(([part, n]) => part + " " + count(n));
    facts.push(
      fact(
        "Parameters attributed",
        [percent(share, share !== null && share < 0.1 ? 1 : 0) + " of " + count(coverage.num_parameters), el("span", { class: "bar", "aria-hidden": "true" }, el("span", { vars: { width: 100 * (share || 0) + "%" } }))],
        left.length ? "Left out: " + left.join(", ") + "." : "Nothing is left out.",
      ),
    );
  } else facts.push(fact("Parameters attributed", "none", "No method on this page uses gradients."));
  if (plan) {
    const stored = plan.path === "stored";
    facts.push(
      fact(
        "Gradients",
        stored ? "stored, projected" + (plan.projection_dim ? ` to ${plan.projection_dim}\u202f\u00d7\u202f${plan.projection_dim} per module` : "") : "streamed, exact",
        plan.reason ? said(plan.reason) : null,
      ),
    );
  }
  const took = DATA.methods.map((m) => m.name).map(words).join(", ");
  facts.push(fact("Methods", count(DATA.methods.length), took || "none"));
  return el("dl", { class: "facts" }, facts);
}

function modelNote() {
  const others = [...new Set(DATA.behaviors.map((b) => b.verification && b.verification.model).filter((name) => name && name !== DATA.model))];
  return others.length ? ["Behaviors were verified with another model: ", others.map((name) => said(name)), "."] : "Behaviors were verified and examples attributed with this one model.";
}

function notices() {
  const items = [
    DATA.forced.length ? plural(DATA.forced.length, "behavior") + " not shown by the model " + (DATA.forced.length === 1 ? "was" : "were") + " attributed all the same, because the study asked for it. What is found for them explains nothing that the model does." : null,
    ...DATA.skipped,
    ...DATA.warnings,
  ].filter(Boolean);
  return items.length ? el("ul", { class: "notices", "aria-label": "Warnings" }, items.map((text) => el("li", { class: "notice" }, said(text)))) : null;
}

function lede() {
  const n = (v) => DATA.behaviors.filter((b) => verdictOf(b) === v).length;
  if (!DATA.behaviors.length) return el("p", { class: "lede" }, "No behavior was asked about.");
  const attributed = DATA.behaviors.filter(wasAttributed).length;
  return el(
    "p",
    { class: "lede" },
    // A folder's path is spelled out below.
    said(DATA.model.replace(/^.*[/\\](?=[^/\\])/, (path) => (/^([/\\]|[A-Za-z]:)/.test(DATA.model) ? "" : path))), " shows ", el("strong", null, count(n("shown")) + " of " + plural(DATA.behaviors.length, "behavior")),
    n("weak") ? ", " + count(n("weak")) + " more weakly. " : ". ",
    attributed ? `For ${attributed === DATA.behaviors.length ? "each" : plural(attributed, "of them", "of them")}, the training examples that ${plural(DATA.methods.length, "method")} ${DATA.methods.length === 1 ? "ties" : "tie"} to it.` : "None was attributed.",
  );
}

// The table of behaviors, with filters.

function pairAgreement(behavior) {
  const [a, b] = [STATE.a, STATE.b];
  return a === null || b === null || a === b ? null : behavior.agreement[a][b];
}

function firstIsGold(behavior, method) {
  const found = method === null ? null : behavior.methods[method];
  if (!found || !behavior.num_gold) return null;
  return found.proponents.length > 0 && behavior.is_gold[found.proponents[0].place];
}

const PRESETS = {
  disagree: { name: "methods disagree", hint: "The two compared methods share no example among their first ones.", test: (b) => pairAgreement(b) === 0 },
  gold: { name: "first is planted", hint: "The first proponent was planted for the behavior.", test: (b) => firstIsGold(b, STATE.a) === true },
  missed: { name: "first is not planted", hint: "Examples were planted for the behavior, and the first proponent is none of them.", test: (b) => firstIsGold(b, STATE.a) === false },
};

function matches(behavior) {
  if (STATE.kind && behavior.kind !== STATE.kind) return false;
  if (STATE.verdict && verdictOf(behavior) !== STATE.verdict) return false;
  if (STATE.preset && !PRESETS[STATE.preset].test(behavior)) return false;
  if (!STATE.q) return true;
  const hay = [behavior.id, behavior.kind, behavior.prompt, completionText(behavior), behavior.subject, behavior.relation, behavior.object].join("\n").toLowerCase();
  return STATE.q.toLowerCase().split(/\s+/).every((word) => hay.includes(word));
}

function toggles(label, key, options, redraw) {
  return el(
    "div",
    { class: "group", role: "group", "aria-label": label },
    options.map(([value, name, hint]) =>
      el("button", {
        class: "toggle", type: "button", title: hint, "aria-pressed": String(STATE[key] === value),
        onclick: (event) => {
          STATE[key] = STATE[key] === value ? null : value;
          for (const other of event.currentTarget.parentNode.children) other.setAttribute("aria-pressed", "false");
          event.currentTarget.setAttribute("aria-pressed", String(STATE[key] === value));
          redraw();
        },
      }, name),
    ),
  );
}

function methodSelect(label, key, redraw) {
  return el(
    "label", null, label + " ",
    el("select", { onchange: (event) => { STATE[key] = Number(event.target.value); redraw(); } },
      DATA.methods.map((m, i) => el("option", { value: i, selected: STATE[key] === i }, words(m.name)))),
  );
}

function behaviorRow(behavior) {
  const found = STATE.a === null ? null : behavior.methods[STATE.a];
  const gold = firstIsGold(behavior, STATE.a);
  const sensitive = behavior.kind === "toxic" && STATE.mask;
  const first = found && found.proponents[0];
  const example = first && DATA.examples[behavior.shown[first.place]];
  const v = behavior.verification;
  return el(
    "tr",
    { class: "row" },
    el(
      "td",
      null,
      el("a", { class: "says", href: link({ behavior: behavior.id }) }, sensitive ? el("span", { class: "soft" }, "masked text") : [said(shorten(behavior.prompt, 130, true), "prompt"), said(shorten(completionText(behavior), 90), "completion")]),
      el("div", { class: "id" }, said(behavior.id)),
    ),
    el("td", null, verdictChip(behavior), " ", forcedChip(behavior)),
    el("td", { class: "num", "data-name": "log-prob, nats" }, v ? nats(v.completion.log_prob_nats) : "\u2013"),
    DATA.methods.length > 0 &&
      el(
        "td",
        { "data-name": "first by " + words(DATA.methods[STATE.a].name) },
        !found ? el("span", { class: "soft" }, "not attributed") : !example ? el("span", { class: "soft" }, "none") : [
          gold ? el("span", { class: "chip gold" }, "planted") : null, gold ? " " : null,
          (sensitive || (example.is_sensitive && STATE.mask)) ? el("span", { class: "soft" }, "masked text") : el("span", { class: "snippet", dir: "auto" }, excerpt(example, behavior.marks[first.place], behavior.answers[first.place], 110)),
          example.subset && el("div", { class: "soft small" }, said(example.subset)),
        ],
      ),
    DATA.methods.length > 1 && el("td", { class: "num", "data-name": "Jaccard@" + DATA.top_k }, !found ? "\u2013" : pairAgreement(behavior) === null ? UNDEFINED : pairAgreement(behavior).toFixed(2)),
  );
}

function behaviorTable(list) {
  if (!DATA.behaviors.length) return el("p", { class: "empty" }, "There are no behaviors in this run.");
  if (!list.length) return el("p", { class: "empty" }, "No behavior matches. ", el("button", { class: "link", type: "button", onclick: () => { Object.assign(STATE, { q: "", kind: null, verdict: null, preset: null }); render(); } }, "Show all"));
  const kinds = KINDS.filter((kind) => list.some((b) => b.kind === kind));
  const span = 3 + (DATA.methods.length > 0) + (DATA.methods.length > 1);
  return el(
    "table",
    { class: "wide behaviors" },
    el("thead", null, el("tr", null, el("th", { scope: "col" }, "Behavior"), el("th", { scope: "col" }, "Verdict"), el("th", { scope: "col" }, "Log-prob, nats"), DATA.methods.length > 0 && el("th", { scope: "col" }, "First proponent"), DATA.methods.length > 1 && el("th", { scope: "col" }, "Jaccard@" + DATA.top_k))),
    kinds.map((kind) => {
      const rows = list.filter((b) => b.kind === kind);
      const shown = rows.filter((b) => verdictOf(b) === "shown").length;
      return el("tbody", null, el("tr", null, el("th", { colspan: span, scope: "rowgroup" }, KIND_NAMES[kind], el("span", { class: "count" }, `${shown} of ${rows.length} shown`))), rows.map(behaviorRow));
    }),
  );
}

function metrics(list) {
  const shares = mean(list.map(pairAgreement));
  const gold = list.filter((b) => verdictOf(b) === "shown").map((b) => firstIsGold(b, STATE.a)).filter((g) => g !== null);
  return el(
    "p",
    { class: "metrics", role: "status" },
    el("strong", null, list.length === DATA.behaviors.length ? plural(list.length, "behavior") : `${list.length} of ${plural(DATA.behaviors.length, "behavior")}`),
    gold.length ? [" \u00b7 first proponent planted for ", el("strong", null, `${gold.filter(Boolean).length} of ${gold.length}`), " shown ones"] : null,
    shares !== null ? [" \u00b7 mean Jaccard@" + DATA.top_k + " ", el("strong", null, shares.toFixed(2))] : null,
  );
}

function behaviorsSection() {
  const holder = el("div");
  const redraw = () => {
    const list = DATA.behaviors.filter(matches);
    holder.replaceChildren(metrics(list), behaviorTable(list));
    remember();
  };
  const kinds = KINDS.filter((kind) => DATA.behaviors.some((b) => b.kind === kind));
  const presets = Object.entries(PRESETS).filter(([key]) => (key === "disagree" ? DATA.methods.length > 1 : DATA.has_gold && DATA.methods.length > 0));
  const controls = DATA.behaviors.length > 1 && [
    el(
      "div", { class: "controls" },
      el("input", { type: "search", id: "search", placeholder: "Search behaviors", "aria-label": "Search behaviors", value: STATE.q, oninput: (event) => { STATE.q = event.target.value; redraw(); } }),
      kinds.length > 1 && toggles("Kind", "kind", kinds.map((k) => [k, k]), redraw),
      toggles("Verdict", "verdict", VERDICTS.filter((v) => DATA.behaviors.some((b) => verdictOf(b) === v)).map((v) => [v, v]), redraw),
    ),
    DATA.methods.length > 0 && el(
      "div", { class: "controls" },
      methodSelect("First proponent by", "a", redraw),
      DATA.methods.length > 1 && methodSelect("compared with", "b", redraw),
      presets.length > 0 && toggles("Presets", "preset", presets.map(([key, p]) => [key, p.name, p.hint]), redraw),
    ),
  ];
  redraw();
  return el("section", { id: "behaviors" }, el("h2", null, "Behaviors"), controls, holder);
}

// Across behaviors.

function goldTable() {
  const rates = DATA.across.gold_rates;
  if (!rates || !rates.length) return null;
  const kinds = KINDS.filter((kind) => rates[0].some((r) => r.kind === kind));
  const cell = (r) =>
    !r || r.rate === null
      ? el("td", { class: "soft small" }, "no gold")
      : el("td", { class: "num", title: `mean reciprocal rank ${number(r.mean_reciprocal_rank)}; a random order would reach ${percent(r.chance, 1)}` },
          percent(r.rate) + " ", el("span", { class: "soft small" }, `${r.hits}/${r.n}`), whisker(r.rate, r.interval),
          el("span", { class: "cell-interval" }, `${percent(r.interval.low)}\u2013${percent(r.interval.high)}`));
  return [
    el("h3", null, "How often the first proponent was planted for the behavior"),
    el("p", { class: "soft" }, "Of the shown behaviors of each kind; with Wilson's 95\u202f% interval. Finding a planted example is retrieval: it does not show that the example had an effect."),
    el("div", { class: "scroll" }, el("table", null,
      el("thead", null, el("tr", null, el("th", { scope: "col" }, "Method"), kinds.map((k) => el("th", { scope: "col" }, k)))),
      el("tbody", null, rates.map((row, i) => el("tr", null, el("th", { scope: "row" }, words(DATA.methods[i].name)), kinds.map((k) => cell(row.find((r) => r.kind === k)))))))),
  ];
}

function meanAgreement() {
  const asked = DATA.behaviors.filter(wasAttributed);
  if (DATA.methods.length < 2 || !asked.length) return null;
  const matrix = DATA.methods.map((_, i) => DATA.methods.map((_, j) => mean(asked.map((b) => b.agreement[i][j]))));
  return [el("h3", null, "How far the methods agree, on average"), agreementTable(matrix, DATA.top_k)];
}

function hubList() {
  if (!DATA.across.hubs.some((list) => list.length)) return null;
  const asked = DATA.behaviors.filter(wasAttributed).length;
  const holder = el("div");
  const draw = () => {
    const list = DATA.across.hubs[STATE.a];
    holder.replaceChildren(
      list.length
        ? el("ul", { class: "cards" }, list.map(([place, queries, groups]) => {
            const example = DATA.examples[place];
            return el("li", { class: "card" },
              el("header", null, el("strong", null, `${queries} of ${asked} behaviors`), el("span", { class: "soft small" }, plural(groups, "kind")), el("span", { class: "id" }, said(example.id)), example.subset && el("span", { class: "soft small" }, said(example.subset))),
              maskable(example.is_sensitive, "Text", () => body(example, [], [], { compact: true })));
          }))
        : el("p", { class: "empty" }, "No example is among the first of two behaviors by this method."),
    );
  };
  draw();
  return [
    el("h3", null, "Hubs: examples that many behaviors have among their first ", count(DATA.top_k)),
    el("p", { class: "soft" }, "An example tied to behaviors that have nothing in common says more about the example, or the method, than about any of them."),
    el("div", { class: "controls" }, methodSelect("by", "a", () => { draw(); remember(); })),
    holder,
  ];
}

function acrossSection() {
  const parts = [goldTable(), meanAgreement(), hubList()].filter(Boolean);
  return parts.length ? el("section", { id: "across" }, el("h2", null, "Across behaviors"), parts) : null;
}

// What the methods are worth.

function estimate(e) {
  if (!e || e.value === null) return el("td", { class: "soft small" }, UNDEFINED);
  return el("td", { class: "num", title: plural(e.n, "query", "queries") }, signed(e.value.toFixed(3)),
    el("span", { class: "cell-interval" }, e.low === null ? "n\u00a0=\u00a0" + e.n : signed(`${e.low.toFixed(2)} to ${e.high.toFixed(2)}`)));
}

function boardTable(columns, rows) {
  return el("div", { class: "scroll" }, el("table", { class: "board" },
    el("thead", null, el("tr", null, el("th", { scope: "col" }, "Method"), columns.map(([name, unit]) => el("th", { scope: "col" }, name, unit && el("div", { class: "soft" }, unit))))),
    el("tbody", null, rows.map(([name, cells, about]) => el("tr", { class: about }, el("th", { scope: "row" }, name), cells.map(estimate))))));
}

function leaderboardSection() {
  const board = DATA.validation;
  if (!board) return null;
  const find = (m, method, kind) => m.figures.find((f) => f.method === method && f.kind === kind);
  const methods = [...new Set(board.measures.flatMap((m) => m.figures.map((f) => f.method)))];
  const kinds = (m) => KINDS.filter((kind) => m.figures.some((f) => f.kind === kind && f.n));
  const byKind = (m) => [
    el("h3", null, m.name, " ", el("span", { class: "soft small" }, m.unit)),
    boardTable(kinds(m).map((kind) => [kind]), [
      ...methods.map((method) => [words(method), kinds(m).map((kind) => find(m, method, kind))]),
      ["control: " + m.controls.all.name, kinds(m).map((kind) => m.controls[kind]), "control"],
    ]),
  ];
  return el(
    "section", { id: "leaderboard" },
    el("h2", null, "Which methods may be trusted with what"),
    el("p", { class: "soft" }, "Means over the behaviors with their 95\u202f% intervals; more is better, and the last row is what chance reaches. Retrieval finds copies in an untrained model as well; only the tail-patch and retraining say that an example had an effect."),
    board.measures.length > 0 && boardTable(board.measures.map((m) => [m.name, m.unit]), [
      ...methods.map((method) => [words(method), board.measures.map((m) => find(m, method, "all"))]),
      ["control", board.measures.map((m) => m.controls.all), "control"],
    ]),
    Object.keys(board.undefined).length ? el("p", { class: "soft small" }, "Not measured here: ", Object.entries(board.undefined).map(([name, why]) => `${name}: ${why}`).join(" ")) : null,
    fold("In words", el("ul", null, board.sentences.map((text) => el("li", null, text)))),
    fold("By kind of behavior", board.measures.length > 0 && el("div", null, board.measures.map(byKind))),
  );
}

// How to run it again.

function pairs(object) {
  return el("table", null, el("tbody", null, Object.entries(object).map(([k, v]) => el("tr", null, el("th", { scope: "row" }, words(k)), el("td", { class: "mono" }, said(typeof v === "object" && v !== null ? JSON.stringify(v) : String(v)))))));
}

function download() {
  const file = new Blob([document.getElementById("data").textContent], { type: "application/json" });
  const url = URL.createObjectURL(file);
  el("a", { href: url, download: "whence-page.json" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

function fold(name, content) {
  return content && el("details", null, el("summary", null, name), content);
}

function reproduceSection() {
  const { inputs, hashes, versions, seconds: took, ...rest } = DATA.manifest;
  const size = document.getElementById("data").textContent.length;
  const isMap = (v) => v && typeof v === "object" && Object.keys(v).length > 0;
  return el(
    "section", { id: "reproduce" },
    el("h2", null, "Run it again"),
    DATA.commands.length ? el("pre", null, said(DATA.commands.join("\n"))) : el("p", { class: "soft" }, "The commands were not recorded."),
    isMap(versions) && [el("h3", null, "Versions"), el("p", { class: "mono" }, said(Object.entries(versions).map(([k, v]) => `${k} ${v}`).join(" \u00b7 ")))],
    el("h3", null, "Hashes"),
    pairs({ "corpus (ids and tokens)": DATA.corpus.fingerprint, ...(isMap(hashes) ? hashes : {}) }),
    fold("Settings", isMap(inputs) && el("pre", null, said(JSON.stringify(inputs, null, 2)))),
    fold("Settings of each method", DATA.methods.length > 0 && el("pre", null, said(JSON.stringify(Object.fromEntries(DATA.methods.map((m) => [m.name, m.settings])), null, 2)))),
    fold("Seconds", isMap(took) ? pairs(took) : null),
    fold("Attributed modules, and what is left out", DATA.coverage && el("div", null, el("h3", null, "Attributed"), pairs(DATA.coverage.modules), el("h3", null, "Left out"), pairs(DATA.coverage.left_out))),
    fold("The rest of the manifest", Object.keys(rest).length > 0 && el("pre", null, said(JSON.stringify(rest, null, 2)))),
    el("p", null, el("button", { class: "link", type: "button", onclick: download }, `Download the data of this page (JSON, ${bytes(size)})`)),
  );
}

function limitsBox() {
  return el("section", { class: "limits", id: "limits" }, el("h2", null, "What this page can and cannot say"), el("ul", null, DATA.limits.map((text) => el("li", null, text))));
}

function home() {
  return [
    masthead(),
    el("h1", null, said(DATA.title || "Untitled study")),
    lede(),
    facts(),
    notices(),
    limitsBox(),
    behaviorsSection(),
    acrossSection(),
    leaderboardSection(),
    reproduceSection(),
  ];
}
