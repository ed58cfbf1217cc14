// A behavior's text: the words that examples share are buttons, which select those examples.

// Which span of which behavior selects the examples.
const CHOSEN = { behavior: null, span: null };

function chosenSpan(behavior) {
  return CHOSEN.behavior === behavior.id ? CHOSEN.span : null;
}

function hasSpan(behavior, entry) {
  const span = chosenSpan(behavior);
  return span === null || detailOf(behavior).spans[span].shown.includes(entry.shown);
}

function inCorpus({ num_documents: num }) {
  return num === null ? "" : ", " + count(num) + " in the corpus";
}

// `redraw` draws the lists again.
function chooseSpan(behavior, place, redraw) {
  const isChosen = chosenSpan(behavior) === place;
  Object.assign(CHOSEN, { behavior: behavior.id, span: isChosen ? null : place });
  for (const node of document.querySelectorAll(".span")) {
    node.setAttribute("aria-pressed", String(Number(node.dataset.span) === chosenSpan(behavior)));
  }
  redraw();
}

function spanButton(behavior, place, content, redraw) {
  const span = detailOf(behavior).spans[place];
  const many = `${plural(span.num_words, "word")}, shared by ${count(span.shown.length)} listed` + inCorpus(span);
  const choose = () => chooseSpan(behavior, place, redraw);
  const press = (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    choose();
  };
  // A button element would not break into lines, as a long run of words has to.
  return el(
    "span",
    {
      class: "span " + level(span.num_words),
      role: "button",
      tabindex: 0,
      "data-span": place,
      "aria-pressed": String(chosenSpan(behavior) === place),
      title: many,
      "aria-description": many,
      onclick: choose,
      onkeydown: press,
    },
    content,
  );
}

// One part of the text, from character `from` up to `to` of prompt and completion.
function quotePart(behavior, text, from, to, cls, redraw) {
  const at = slicer(text);
  const nodes = [];
  let last = from;
  const spans = detailOf(behavior).spans.map((span, place) => ({ ...span, place }));
  const marks = spans.filter((span) => span.is_marked).sort((x, y) => x.start - y.start);
  marks.forEach(({ start, end, place }) => {
    const [a, b] = [Math.max(start, from), Math.min(end, to)];
    if (a >= b) return;
    nodes.push(visible(at.slice(last, a)), spanButton(behavior, place, visible(at.slice(a, b)), redraw));
    last = b;
  });
  nodes.push(visible(at.slice(last, to)));
  return el("bdi", { class: cls, dir: "auto" }, nodes);
}

function quote(behavior, redraw) {
  const { prompt } = behavior;
  const text = prompt + completionText(behavior);
  const [middle, length] = [slicer(prompt).length, slicer(text).length];
  const from = Math.max(0, middle - LONGEST);
  const to = Math.min(length, middle + LONGEST);
  const parts = [from > 0 && "the end of the prompt", to < length && "the start of the completion"];
  const cut = parts.filter(Boolean).join(" and ");
  return [
    el(
      "p",
      { class: "quote" },
      from > 0 && "\u2026",
      quotePart(behavior, text, from, middle, "prompt", redraw),
      quotePart(behavior, text, middle, to, "completion", redraw),
      to < length && "\u2026",
    ),
    cut && el("p", { class: "small soft" }, `Cut to ${cut}, ${count(LONGEST)} characters each.`),
    spanList(behavior, text, redraw),
  ];
}

function oneLine(text) {
  return shorten(text.replace(/\s+/g, " "), 60);
}

// Every span with its counts, also those that overlap with marked ones.
function spanList(behavior, text, redraw) {
  const { spans } = detailOf(behavior);
  if (!spans.length) return null;
  const at = slicer(text);
  const item = (span, place) =>
    el(
      "li",
      null,
      spanButton(behavior, place, visible(oneLine(at.slice(span.start, span.end))), redraw),
      el("span", { class: "soft" }, ` ${count(span.shown.length)} listed`, inCorpus(span)),
    );
  const title = "Words that listed examples share; a click keeps the examples that have them";
  return el("div", null, el("p", { class: "small soft" }, title), el("ul", { class: "spans" }, spans.map(item)));
}

// What the lists are filtered by, with a way back.
function spanNote(behavior, redraw) {
  const place = chosenSpan(behavior);
  if (place === null) return null;
  const span = detailOf(behavior).spans[place];
  const text = slicer(behavior.prompt + completionText(behavior)).slice(span.start, span.end);
  const what = () => el("q", { class: "text" }, said(oneLine(text)));
  return el(
    "p",
    { class: "chosen", role: "status" },
    "Only examples with ",
    maskable(isSensitive(behavior), "Words", what),
    inCorpus(span),
    ". ",
    el("button", { class: "link", type: "button", onclick: () => chooseSpan(behavior, place, redraw) }, "Show all"),
  );
}

// Marks in the behavior's text what one example shares with it.
function locateButton(behavior, shownPlace) {
  const { spans } = detailOf(behavior);
  if (!spans.some((span) => span.shown.includes(shownPlace))) return null;
  const locate = () => {
    for (const node of document.querySelectorAll(".span")) {
      node.classList.toggle("lit", spans[Number(node.dataset.span)].shown.includes(shownPlace));
    }
    const first = document.querySelector(".span.lit");
    (first ?? document.querySelector(".said")).scrollIntoView({ block: "center" });
    first?.focus({ preventScroll: true });
  };
  return el("button", { class: "link small", type: "button", onclick: locate }, "show in the text above");
}
