// The address after `#` holds what is looked at, so that a link shows the same again.

const NOTHING = {
  at: null,
  behavior: null,
  method: null,
  beside: null,
  every: null,
  q: "",
  kind: null,
  verdict: null,
  preset: null,
  hubs: null,
  subset: null,
  time: null,
  sort: null,
};
const KEYS = Object.keys(NOTHING);
const STATE = { ...NOTHING, a: null, b: null, mask: true };

// The two methods that the list of behaviors compares: one on gradients, and search.
function defaults() {
  const first = DATA.reading.method ?? DATA.methods[0]?.name ?? null;
  const others = DATA.methods.filter((m) => m.name !== first);
  const other = others.find((m) => m.is_baseline) ?? others[0];
  return { a: first, b: DATA.reading.search ?? other?.name ?? first };
}

function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const key of KEYS) STATE[key] = given.get(key) || NOTHING[key];
  if (!Object.hasOwn(PRESETS, STATE.preset) || !PRESETS[STATE.preset].applies) STATE.preset = null;
  if (!SUBSETS.includes(STATE.subset)) STATE.subset = null;
  if (!Object.hasOwn(TIMES, STATE.time) || !HAS_TIMES) STATE.time = null;
  for (const key of ["a", "b"]) STATE[key] = findMethod(given.get(key))?.name ?? defaults()[key];
}

function link(changes) {
  const now = { ...STATE, ...changes };
  if (now.behavior) now.at = null;
  // What stands beside a behavior is chosen for it alone.
  if (now.behavior !== STATE.behavior) now.beside = null;
  const to = new URLSearchParams();
  for (const key of KEYS) if (now[key]) to.set(key, now[key]);
  for (const key of ["a", "b"]) if (now[key] !== defaults()[key]) to.set(key, now[key]);
  return "#" + to.toString();
}

const LINKS = [];

// A link to another view; what else is chosen stays chosen, also when it is chosen later.
function viewLink(changes, props, ...children) {
  const node = el("a", { ...props, href: link(changes) }, children);
  LINKS.push({ node, changes });
  return node;
}

// Writes the state into the address without a new entry in the history.
function remember() {
  if (link({}) !== (location.hash || "#")) history.replaceState(null, "", link({}));
  for (const { node, changes } of LINKS) node.href = link(changes);
}

// A link to a section of the first view.
function sectionLink(name, props, ...children) {
  return viewLink({ at: name, behavior: null, method: null }, { ...props, onclick: () => arrive(name) }, children);
}

// Brings a section into view, opens it where it is folded, and puts the focus on it.
function arrive(name) {
  const target = document.getElementById(name);
  if (!target) return;
  if (target.tagName === "DETAILS") target.open = true;
  target.scrollIntoView();
  const heading = target.querySelector("h2, summary") ?? target;
  if (heading.tagName !== "SUMMARY") heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
}

// Draws the page anew; `main.js` says how.
let render = () => undefined;

function methodSelect(label, key, redraw) {
  const choose = (event) => {
    STATE[key] = event.target.value;
    redraw();
  };
  const option = (m) => el("option", { value: m.name, selected: STATE[key] === m.name }, m.label);
  return el("label", null, label + " ", el("select", { onchange: choose }, DATA.methods.map(option)));
}
