// Two lists side by side: of two methods, of two behaviors, or of every method.

function sideColumn(behavior, method, title) {
  const result = of(detailOf(behavior).lists, method);
  const entries = result?.proponents ?? [];
  const none = result ? "names no example" : "did not score it";
  const list = entries.length
    ? cards(behavior, entries, method, { compact: true })
    : el("p", { class: "empty" }, none);
  return { entries, node: el("section", null, el("h3", null, title), list) };
}

// Examples of several columns get a mark of their own; pointing at one shows it in the others.
function withShared(holder) {
  const numbers = new Map();
  for (const node of holder.querySelectorAll(".card")) {
    const key = node.dataset.example;
    numbers.set(key, (numbers.get(key) ?? 0) + 1);
  }
  for (const node of holder.querySelectorAll(".card")) {
    node.classList.toggle("shared", numbers.get(node.dataset.example) > 1);
  }
  const highlight = (example) => {
    for (const node of holder.querySelectorAll(".card")) {
      node.classList.toggle("same", node.dataset.example === example);
    }
  };
  holder.addEventListener("mouseover", (event) => highlight(event.target.closest(".card")?.dataset.example ?? "none"));
  holder.addEventListener("mouseleave", () => highlight("none"));
  return [...numbers.values()].filter((n) => n > 1).length;
}

function otherSelect(behavior, choose) {
  const option = (b) => el("option", { value: b.id, selected: STATE.beside === b.id }, b.id);
  const others = BEHAVIORS.filter((b) => b !== behavior && wasAttributed(b));
  const own = el("option", { value: "" }, "this behavior");
  const props = { onchange: (event) => choose(event.target.value || null) };
  return others.length > 0 && el("label", null, "of ", el("select", props, own, others.map(option)));
}

function sideBySide(behavior, redraw) {
  const other = findBehavior(STATE.beside) ?? behavior;
  const choose = async (change) => {
    Object.assign(STATE, change);
    const next = findBehavior(STATE.beside);
    if (next) await loadBehavior(next);
    redraw();
    remember();
  };
  const scored = DATA.methods.filter((m) => of(behavior.results, m.name));
  const title = (method, b) => [methodLabel(method), b !== behavior && [", ", said(b.id)]];
  const columns = STATE.every
    ? scored.map((m) => sideColumn(behavior, m.name, m.label))
    : [
        sideColumn(behavior, STATE.a, title(STATE.a, behavior)),
        sideColumn(other, STATE.b, title(STATE.b, other)),
      ];
  const holder = el(
    "div",
    { class: "columns", tabindex: 0, role: "group", "aria-label": "Lists side by side" },
    columns.map(({ node }) => node),
  );
  const num = withShared(holder);
  const every = {
    class: "toggle",
    type: "button",
    "aria-pressed": String(STATE.every !== null),
    onclick: () => choose({ every: STATE.every ? null : "method" }),
  };
  return [
    el(
      "div",
      { class: "controls" },
      !STATE.every && [
        methodSelect("Left", "a", () => choose({})),
        methodSelect("right", "b", () => choose({})),
        otherSelect(behavior, (id) => choose({ beside: id })),
      ],
      scored.length > 2 && el("button", every, "every method"),
    ),
    el("p", { class: "soft", role: "status" }, plural(num, "example"), " in more than one of these lists."),
    holder,
  ];
}
