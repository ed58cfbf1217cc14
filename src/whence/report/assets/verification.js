// Does the model do it? The measurements behind a behavior's verdict.

function interval(i, format) {
  return i ? `[${format(i.low)}, ${format(i.high)}], n\u202f=\u202f${i.n}` : null;
}

function tokenBox(token) {
  const likely = token.log_prob_nats === null ? 0 : Math.exp(token.log_prob_nats).toFixed(3);
  const text = token.text.replaceAll(" ", "\u2423").replaceAll("\n", "\u21b5").replaceAll("\t", "\u21e5");
  return el(
    "div",
    { class: "token", vars: { "--p": likely } },
    el("b", { dir: "auto" }, token.text === "" ? "\u00a0" : visible(text)),
    el("span", null, nats(token.log_prob_nats)),
    el("span", null, token.rank === null ? null : "rank " + count(token.rank)),
  );
}

function tokenRow({ tokens }) {
  if (!tokens.length) return null;
  const legend =
    "Each token of the completion: log-probability in nats, and its rank among all tokens. " +
    "Darker is likelier.";
  return [
    el("div", { class: "tokens", "aria-label": "Tokens of the completion" }, tokens.map(tokenBox)),
    el("p", { class: "legend" }, legend),
  ];
}

function measure(name, value, ...notes) {
  const small = (note) => el("div", { class: "small" }, note);
  return el(
    "div",
    null,
    el("dt", null, name),
    el("dd", null, el("strong", null, value), notes.filter(Boolean).map(small)),
  );
}

function choices(behavior) {
  const v = behavior.verification;
  const own = { text: completionText(behavior), log_prob_nats: v.completion.log_prob_nats, isOwn: true };
  const rows = [own, ...v.alternatives];
  rows.sort((a, b) => (b.log_prob_nats ?? -Infinity) - (a.log_prob_nats ?? -Infinity));
  const row = ({ text, log_prob_nats: value, isOwn }) => {
    const shortened = said(shorten(text, 40));
    const cell = el("td", { class: "text" }, isOwn ? el("strong", null, shortened) : shortened);
    return el("tr", null, cell, el("td", { class: "num" }, nats(value)));
  };
  return el("table", { class: "choices" }, el("tbody", null, rows.map(row)));
}

function probabilityMeasure({ completion }) {
  return measure(
    "Log-probability of the completion",
    nats(completion.log_prob_nats) + " nats",
    `probability ${probability(completion.log_prob_nats)}`,
    completion.is_greedy ? "Greedy decoding says exactly this." : "Greedy decoding says something else.",
  );
}

function marginMeasure(v) {
  const paraphrases = v.paraphrase_margins_nats;
  return measure(
    "Mean margin over the likeliest alternative",
    nats(v.margin_nats) + " nats, or nats per token",
    v.margin_interval && interval(v.margin_interval, nats),
    paraphrases.length ? "after the paraphrases: " + paraphrases.map(nats).join(", ") : null,
    "mean over the prompt and its paraphrases; per token where completion and alternatives differ in length",
  );
}

function initialMeasure(v) {
  const initial = v.initial_log_prob_nats;
  if (initial === null) return measure("Before training (step 0)", "not measured");
  const gain = v.completion.log_prob_nats - initial;
  const change = `${gain >= 0 ? "a gain of" : "a loss of"} ${nats(Math.abs(gain))} nats`;
  return measure("Before training (step 0)", nats(initial) + " nats", change);
}

function rateMeasure(behavior) {
  const r = behavior.verification.rate;
  const between = (i) => interval(i, (x) => percent(x));
  const spaced = (i) => (i ? " " + between(i) : "");
  const quoted = () => el("q", { class: "text" }, said(shorten(r.sample, 400)));
  const isKnown = r.judge_error !== null;
  return measure(
    "Sampled rate",
    percent(r.rate) + " of " + plural(r.num_samples, "sample"),
    r.interval && between(r.interval),
    r.control_rate === null
      ? "Controls were not sampled."
      : `after controls ${percent(r.control_rate)}${spaced(r.control_interval)}`,
    [
      "judged by ",
      said(r.judge),
      isKnown
        ? `; its error on a labeled sample ${percent(r.judge_error, 1)}${spaced(r.judge_error_interval)}`
        : "; its error is not known",
    ],
    r.sample ? el("div", null, "One sample: ", maskable(isSensitive(behavior), "Sample", quoted)) : null,
  );
}

function measures(behavior) {
  const v = behavior.verification;
  const gap =
    "log-probability after the prompt, minus its mean after prompts that should not have the effect";
  const items = [
    probabilityMeasure(v),
    v.margin_nats !== null && marginMeasure(v),
    v.alternatives.length > 0 &&
      el(
        "div",
        null,
        el("dt", null, "Against the alternatives, nats of the whole completion"),
        el("dd", null, maskable(isSensitive(behavior), "Texts", () => choices(behavior))),
      ),
    v.control_gap_nats !== null && measure("Gap to the controls", nats(v.control_gap_nats) + " nats", gap),
    initialMeasure(v),
    v.extraction !== null &&
      measure("Extraction", percent(v.extraction), "of the completion's tokens, by greedy decoding"),
    v.rate && rateMeasure(behavior),
  ];
  return el("dl", { class: "measures" }, items);
}

// What was measured and what was required, the checks that fail first.
function checkTable({ checks }) {
  const row = (check) =>
    el(
      "tr",
      { class: check.holds ? null : "failed" },
      el("td", null, el("span", { class: "holds" }, check.holds ? "holds" : "fails")),
      el("th", { scope: "row" }, check.name),
      el("td", { class: "num" }, sentence(check.measured)),
      el("td", { class: "soft" }, sentence(check.required)),
    );
  const heads = ["Check", "", "Measured", "Required"].map((name, i) =>
    i === 1 ? el("td") : el("th", { scope: "col" }, name),
  );
  return scrolled(
    "Checks of the verdict",
    el(
      "table",
      { class: "checks" },
      el("thead", null, el("tr", null, heads)),
      el("tbody", null, checks.map(row)),
    ),
  );
}

function verdictPart(behavior) {
  const v = behavior.verification;
  const meaning = of(kindOf(behavior).meanings, v.verdict);
  const reason = el("p", null, said(sentence(v.reason)));
  return [
    el("p", null, verdictChip(behavior), " ", forcedChip(behavior), " ", meaning),
    v.checks.length ? [checkTable(v), fold("In a sentence", reason)] : reason,
  ];
}

function verificationPart(behavior) {
  const v = behavior.verification;
  if (!v) {
    const why = "This behavior was not verified, so whether the model shows it is unknown.";
    return el("p", { class: "empty" }, why);
  }
  const forced =
    "The model does not show this behavior. The examples below explain nothing that it does; " +
    "they are here because the study asked for it.";
  return [
    verdictPart(behavior),
    v.model !== DATA.model &&
      el(
        "p",
        { class: "notice" },
        "Verified with ",
        said(v.model),
        ", but attributed with ",
        said(DATA.model),
        ".",
      ),
    behavior.is_forced && el("p", { class: "notice" }, forced),
    maskable(isSensitive(behavior), "Tokens", () => el("div", null, tokenRow(v.completion))),
    v.checks.length ? fold("All measurements", measures(behavior)) : measures(behavior),
  ];
}
