// Draws the first view, which is every section, or one behavior; keys and history.

const SCROLLED = new Map();

function masthead() {
  const links = DATA.sections.filter((s) => s.menu !== null);
  const toggle = (event) => {
    STATE.mask = event.target.checked;
    render();
  };
  const box = el("input", { type: "checkbox", checked: STATE.mask, onchange: toggle });
  return el(
    "header",
    { class: "masthead" },
    viewLink(NOTHING, { class: "wordmark" }, "whence"),
    el(
      "nav",
      { "aria-label": "Page" },
      links.map((s) => sectionLink(s.name, null, s.menu)),
      DATA.has_sensitive && el("label", null, box, " mask toxic texts"),
    ),
  );
}

function home() {
  const sections = DATA.sections.map((s) => DRAW.get(s.name)(s.data));
  return [el("h1", null, said(DATA.title || "Untitled study")), sections];
}

render = () => {
  const behavior = STATE.behavior && findBehavior(STATE.behavior);
  const main = document.getElementById("main");
  const isMissing = STATE.behavior && !behavior;
  const keys =
    "Made by whence. Keys: / searches, j and k go to the next and the previous behavior, Esc goes back.";
  const title = DATA.title || "Untitled study";
  document.title = visibleText(behavior ? `${behavior.id} \u00b7 ${title}` : title);
  LINKS.length = 0;
  main.replaceChildren();
  add(main, [
    isMissing &&
      el("p", { class: "notice" }, "There is no behavior ", said(STATE.behavior), " on this page."),
    masthead(),
    behavior ? behaviorView(behavior) : home(),
    el("footer", null, keys),
  ]);
};

let lastKey = null;

async function show() {
  const isFirst = lastKey === null;
  if (!isFirst) SCROLLED.set(lastKey, window.scrollY);
  read();
  const key = STATE.behavior || "";
  lastKey = key;
  const behavior = findBehavior(key);
  const beside = findBehavior(STATE.beside);
  const main = document.getElementById("main");
  main.setAttribute("aria-busy", "true");
  await Promise.all([behavior, beside].filter(Boolean).map(loadBehavior));
  // Another view was opened while this one was unpacked.
  if (lastKey !== key) return;
  main.removeAttribute("aria-busy");
  render();
  window.scrollTo(0, STATE.behavior ? 0 : SCROLLED.get("") || 0);
  const heading = document.querySelector("h1");
  heading.tabIndex = -1;
  if (STATE.at && !STATE.behavior) arrive(STATE.at);
  else if (!isFirst) heading.focus({ preventScroll: true });
}

window.addEventListener("hashchange", show);
// The address holds the view, so that the link to the content must not replace it.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
document.addEventListener("keydown", (event) => {
  const isTyping = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping) return;
  if (event.key === "/" && document.getElementById("search")) {
    event.preventDefault();
    document.getElementById("search").focus();
    return;
  }
  if (!STATE.behavior) return;
  if (event.key === "Escape") location.hash = link({ behavior: null, method: null });
  const by = { j: 1, k: -1 }[event.key];
  const behavior = by && findBehavior(STATE.behavior);
  const next = behavior && neighbor(behavior, by);
  if (next) location.hash = link({ behavior: next.id });
});
await show();
preload();
