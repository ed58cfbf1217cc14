// What was searched, and by which methods, folded to a line.

function fact(name, value, ...notes) {
  const paragraph = (note) => el("p", null, note);
  return el(
    "div",
    null,
    el("dt", null, name),
    el("dd", null, el("strong", null, value), notes.filter(Boolean).map(paragraph)),
  );
}

function modelFact({ model, other_models: others }) {
  const same = "Behaviors were verified and examples attributed with this one model.";
  const other = ["Behaviors were verified with another model: ", others.map((name) => said(name)), "."];
  return fact("Model", said(model), others.length ? other : same);
}

function corpusFact(corpus) {
  const parts = [
    plural(corpus.num_examples, "example"),
    plural(corpus.num_tokens, "token"),
    corpus.subsets.length > 1 && plural(corpus.subsets.length, "subset"),
  ].filter(Boolean);
  const dropped = [
    corpus.num_truncated_tokens === null &&
      "the ends of long documents cut off, not all of them counted",
    corpus.num_truncated_tokens &&
      plural(corpus.num_truncated_tokens, "token") + " of long documents cut off",
    corpus.num_empty && plural(corpus.num_empty, "empty document"),
  ].filter(Boolean);
  return fact(
    "Corpus",
    said(corpus.name),
    parts.join(", "),
    dropped.length ? dropped.join("; ") + "." : null,
  );
}

function poolFact(corpus) {
  const share = corpus.searched_fraction;
  const searched =
    share === null
      ? "How much of the training data this is, is not known."
      : percent(share, share < 0.1 ? 2 : 0) + " of the training data was searched.";
  return fact(
    "Pool that was searched",
    plural(corpus.num_examples, "example"),
    corpus.description ? said(corpus.description) : null,
    searched + " Not found is not absent.",
  );
}

function coverageFact(coverage) {
  const name = "Parameters attributed";
  if (!coverage) return fact(name, "none", "No method on this page uses gradients.");
  const total = coverage.num_parameters;
  const share = total ? coverage.num_attributed / total : null;
  const left = Object.entries(coverage.parts_left_out).map(([part, n]) => part + " " + count(n));
  const bar = el("span", { vars: { width: 100 * (share || 0) + "%" } });
  return fact(
    name,
    [
      percent(share, share !== null && share < 0.1 ? 1 : 0) + " of " + count(total),
      el("span", { class: "bar", "aria-hidden": "true" }, bar),
    ],
    left.length ? "Left out: " + left.join(", ") + "." : "Nothing is left out.",
    ...coverage.not_attributable.map(notAttributable),
  );
}

function notAttributable({ reason, layers }) {
  const one = layers.length === 1;
  const which = one ? "layer " : plural(layers.length, "linear layer") + ", such as ";
  return ["Cannot be attributed: ", which, said(layers[0]), " (", said(reason), ")."];
}

function planFact(plan) {
  if (!plan) return null;
  const side = plan.projection_dim;
  const size = side ? ` to ${side}\u202f\u00d7\u202f${side} per module` : "";
  const how = plan.path === "stored" ? "stored, projected" + size : "streamed, exact";
  return fact("Gradients", how, plan.reason ? said(plan.reason) : null);
}

function methodsFact() {
  const names = DATA.methods.map((m) => m.label).join(", ");
  return fact("Methods", count(DATA.methods.length), names || "none");
}

// What is folded away, in one line.
function provenance({ corpus, coverage }) {
  const share = corpus.searched_fraction;
  const parts = [
    said(corpus.name),
    plural(corpus.num_examples, "example"),
    (share === null ? "an unknown share" : percent(share, share < 0.1 ? 2 : 0)) + " of the training data",
    coverage &&
      coverage.num_parameters > 0 &&
      percent(coverage.num_attributed / coverage.num_parameters) + " of the parameters attributed",
    plural(DATA.methods.length, "method"),
  ].filter(Boolean);
  return ["What was searched: ", parts.map((part, i) => [i > 0 && " \u00b7 ", part])];
}

section("overview", (data) =>
  el(
    "details",
    { class: "line", id: "overview" },
    el("summary", null, provenance(data)),
    el(
      "dl",
      { class: "facts" },
      modelFact(data),
      corpusFact(data.corpus),
      poolFact(data.corpus),
      coverageFact(data.coverage),
      planFact(data.plan),
      methodsFact(),
    ),
  ),
);
