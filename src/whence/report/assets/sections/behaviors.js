// The table of behaviors, by kind, with filters.

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

function saysCell(behavior, isMasked) {
  const texts = () => [
    said(shorten(behavior.prompt, 130, true), "prompt"),
    said(shorten(completionText(behavior), 90), "completion"),
  ];
  return el(
    "td",
    null,
    el(
      "a",
      { class: "says", href: link({ behavior: behavior.id }) },
      isMasked ? el("span", { class: "soft" }, "masked text") : texts(),
    ),
    el("div", { class: "id" }, said(behavior.id)),
  );
}

// The first proponent by the chosen method.
function firstCell(behavior, isMasked) {
  const result = of(behavior.results, STATE.a);
  const first = result?.proponents[0];
  const shown = first && behavior.shown[first.shown];
  const example = shown && DATA.examples[shown.example];
  const cell = (...content) => el("td", { "data-name": "first by " + words(STATE.a) }, content);
  if (!result) return cell(el("span", { class: "soft" }, "not attributed"));
  if (!first) return cell(el("span", { class: "soft" }, "none"));
  const isPlanted = firstIsPlanted(behavior, STATE.a);
  return cell(
    isPlanted && [el("span", { class: "chip gold" }, "planted"), " "],
    isMasked || (example.is_sensitive && STATE.mask)
      ? el("span", { class: "soft" }, "masked text")
      : el("span", { class: "snippet", dir: "auto" }, excerpt(example, shown, 110)),
    example.subset && el("div", { class: "soft small" }, said(example.subset)),
  );
}

function agreementCell(behavior) {
  const agreement = pairAgreement(behavior);
  const shown = agreement === null ? UNDEFINED : agreement.toFixed(2);
  const props = { class: "num", "data-name": "Jaccard@" + DATA.top_k };
  return el("td", props, of(behavior.results, STATE.a) ? shown : "\u2013");
}

function behaviorRow(behavior) {
  const isMasked = isSensitive(behavior) && STATE.mask;
  const v = behavior.verification;
  const logProb = v ? nats(v.completion.log_prob_nats) : "\u2013";
  return el(
    "tr",
    { class: "row" },
    saysCell(behavior, isMasked),
    el("td", null, verdictChip(behavior), " ", forcedChip(behavior)),
    el("td", { class: "num", "data-name": "log-prob, nats" }, logProb),
    DATA.methods.length > 0 && firstCell(behavior, isMasked),
    DATA.methods.length > 1 && agreementCell(behavior),
  );
}

function kindBody(kind, rows, span) {
  const numShown = rows.filter(isShown).length;
  const total = el("span", { class: "count" }, `${numShown} of ${rows.length} shown`);
  const head = el("th", { colspan: span, scope: "rowgroup" }, kind.label, total);
  return el("tbody", null, el("tr", null, head), rows.map(behaviorRow));
}

function behaviorTable(list) {
  if (!BEHAVIORS.length) return el("p", { class: "empty" }, "There are no behaviors in this run.");
  if (!list.length) {
    const reset = () => {
      Object.assign(STATE, { q: "", kind: null, verdict: null, preset: null });
      render();
    };
    const button = el("button", { class: "link", type: "button", onclick: reset }, "Show all");
    return el("p", { class: "empty" }, "No behavior matches. ", button);
  }
  const columns = ["Behavior", "Verdict", "Log-prob, nats"];
  if (DATA.methods.length > 0) columns.push("First proponent");
  if (DATA.methods.length > 1) columns.push("Jaccard@" + DATA.top_k);
  const heads = columns.map((name) => el("th", { scope: "col" }, name));
  const body = (kind) => {
    const rows = list.filter((b) => b.kind === kind.name);
    return rows.length > 0 && kindBody(kind, rows, columns.length);
  };
  return el(
    "table",
    { class: "wide behaviors" },
    el("thead", null, el("tr", null, heads)),
    DATA.kinds.map(body),
  );
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
    { class: "metrics", role: "status" },
    el("strong", null, list.length === BEHAVIORS.length ? total : `${list.length} of ${total}`),
    planted.length > 0 && [" \u00b7 first proponent planted for ", el("strong", null, share), " shown ones"],
    shared !== null && [" \u00b7 mean Jaccard@" + DATA.top_k + " ", el("strong", null, shared.toFixed(2))],
  );
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

function controls({ has_planted: hasPlanted }, redraw) {
  const kinds = KINDS.filter((kind) => BEHAVIORS.some((b) => b.kind === kind));
  const verdicts = DATA.verdicts.map((v) => v.name).filter((v) => BEHAVIORS.some((b) => verdictOf(b) === v));
  const named = (names) => names.map((name) => ({ value: name, name }));
  const applies = (key) => (key === "disagree" ? DATA.methods.length > 1 : hasPlanted);
  const presets = Object.entries(PRESETS)
    .filter(([key]) => applies(key))
    .map(([value, { name, hint }]) => ({ value, name, hint }));
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
        methodSelect("First proponent by", "a", redraw),
        DATA.methods.length > 1 && methodSelect("compared with", "b", redraw),
        presets.length > 0 && toggles("Presets", "preset", presets, redraw),
      ),
  ];
}

section("behaviors", (data) => {
  const holder = el("div");
  const redraw = () => {
    const list = BEHAVIORS.filter(matches);
    holder.replaceChildren(metrics(list), behaviorTable(list));
    remember();
  };
  const filters = BEHAVIORS.length > 1 && controls(data, redraw);
  redraw();
  return el("section", { id: "behaviors" }, el("h2", null, "Behaviors"), filters, holder);
});
