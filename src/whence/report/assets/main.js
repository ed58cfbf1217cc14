// The address after `#` holds what is looked at, so that a link shows the same again.

const KEYS = ["behavior", "method", "q", "kind", "verdict", "preset"];
const STATE = { behavior: null, method: null, q: "", kind: null, verdict: null, preset: null, a: null, b: null, mask: true };
const SCROLLED = new Map();

function methodIndex(name) {
  const found = DATA.methods.findIndex((m) => m.name === name);
  return found < 0 ? null : found;
}

// The two methods that the table of behaviors compares: the first, and the first baseline beside it.
function defaults() {
  const first = DATA.methods.length ? 0 : null;
  const other = DATA.methods.findIndex((m, i) => i > 0 && m.family === "baseline");
  return { a: first, b: other > 0 ? other : DATA.methods.length > 1 ? 1 : first };
}

function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const key of KEYS) STATE[key] = given.get(key) || (key === "q" ? "" : null);
  if (!Object.hasOwn(PRESETS, STATE.preset)) STATE.preset = null;
  STATE.a = methodIndex(given.get("a")) ?? defaults().a;
  STATE.b = methodIndex(given.get("b")) ?? defaults().b;
}

function link(changes) {
  const now = { ...STATE, ...changes };
  const to = new URLSearchParams();
  for (const key of KEYS) if (now[key]) to.set(key, now[key]);
  for (const key of ["a", "b"]) if (now[key] !== defaults()[key]) to.set(key, DATA.methods[now[key]].name);
  return "#" + to.toString();
}

// Writes the state into the address without a new entry in the history.
function remember() {
  if (link({}) !== (location.hash || "#")) history.replaceState(null, "", link({}));
}

function jump(id) {
  return (event) => {
    event.preventDefault();
    const go = () => document.getElementById(id)?.scrollIntoView();
    if (!STATE.behavior) return go();
    location.hash = link({ behavior: null, method: null });
    setTimeout(go, 60);
    return undefined;
  };
}

function masthead() {
  const places = [["behaviors", "Behaviors"], ["across", "Across"], ["leaderboard", "Leaderboard"], ["reproduce", "Run it again"], ["limits", "Limits"]];
  const sensitive = DATA.behaviors.some((b) => b.kind === "toxic") || DATA.examples.some((e) => e.is_sensitive);
  return el(
    "header", { class: "masthead" },
    el("a", { class: "wordmark", href: link({ behavior: null, method: null, q: "", kind: null, verdict: null, preset: null }) }, "whence"),
    el("nav", { "aria-label": "Page" },
      places.map(([id, name]) => ((id === "across" && !DATA.methods.length) || (id === "leaderboard" && !DATA.validation) ? null : el("a", { href: "#", onclick: jump(id) }, name))),
      sensitive && el("label", null, el("input", { type: "checkbox", checked: STATE.mask, onchange: (event) => { STATE.mask = event.target.checked; render(); } }), " mask toxic texts")),
  );
}

function render() {
  const behavior = STATE.behavior && DATA.behaviors.find((b) => b.id === STATE.behavior);
  const main = document.getElementById("main");
  const missing = STATE.behavior && !behavior && el("p", { class: "notice" }, "There is no behavior ", said(STATE.behavior), " on this page.");
  main.replaceChildren();
  add(main, [missing, behavior ? behaviorView(behavior) : home(), el("footer", null, "Made by whence. Keys: / searches, j and k go to the next and the previous behavior, Esc goes back.")]);
}

let lastKey = null;

function show() {
  if (lastKey !== null) SCROLLED.set(lastKey, window.scrollY);
  read();
  lastKey = STATE.behavior || "";
  render();
  window.scrollTo(0, STATE.behavior ? 0 : SCROLLED.get("") || 0);
}

window.addEventListener("hashchange", show);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  if (event.key === "/" && document.getElementById("search")) {
    event.preventDefault();
    document.getElementById("search").focus();
    return;
  }
  if (!STATE.behavior) return;
  if (event.key === "Escape") location.hash = link({ behavior: null, method: null });
  const by = { j: 1, k: -1 }[event.key];
  const behavior = by && DATA.behaviors.find((b) => b.id === STATE.behavior);
  const next = behavior && neighbor(behavior, by);
  if (next) location.hash = link({ behavior: next.id });
});
show();
