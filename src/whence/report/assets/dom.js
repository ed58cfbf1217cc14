// Builds the page from nodes only: a text from the corpus is never read as markup.

const DATA = PAGE;
const READ_ALOUD = new Set(["title", "aria-label", "aria-description"]);
const SVG = "http://www.w3.org/2000/svg";

// Names come from studies and tools, so that every text is cleaned first; see `visible`.
function textNodes(node, text) {
  const isPlain = node.namespaceURI === SVG || node.tagName === "OPTION";
  return isPlain ? [visibleText(text)] : visible(text);
}

function add(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(...(child instanceof Node ? [child] : textNodes(node, String(child))));
  }
  return node;
}

function setAll(node, props) {
  for (const [key, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "vars") for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
    else node.setAttribute(key, value === true ? "" : READ_ALOUD.has(key) ? visibleText(String(value)) : value);
  }
  return node;
}

function el(tag, props, ...children) {
  return add(setAll(document.createElement(tag), props), children);
}

function svg(tag, props, ...children) {
  return add(setAll(document.createElementNS(SVG, tag), props), children);
}

// Numbers. Undefined is written as such, never as 0.

const MINUS = "\u2212";
const UNDEFINED = "undefined";

function signed(text) {
  return text.replaceAll("-", MINUS);
}

// A generated sentence, with the same minus sign as every number.
function sentence(text) {
  return text.replace(/(?<![\w.,)])-(?=\d)/g, MINUS);
}

function number(value, digits = 3) {
  if (value === null || value === undefined) return UNDEFINED;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return signed(value.toExponential(2).replace("e+", "e"));
  return signed(size >= 1000 ? value.toFixed(0) : value.toPrecision(digits));
}

function nats(value) {
  if (value === null || value === undefined) return UNDEFINED;
  const text = value.toFixed(2);
  return text === "-0.00" ? "0.00" : signed(text);
}

function percent(value, digits = 0) {
  if (value === null || value === undefined) return UNDEFINED;
  return signed((100 * value).toFixed(digits)) + "%";
}

function count(value) {
  if (value === null || value === undefined) return "unknown";
  return value.toLocaleString("en-US");
}

function plural(n, one, many) {
  return count(n) + "\u00a0" + (n === 1 ? one : many || one + "s");
}

function probability(logProb) {
  if (logProb === null || logProb === undefined) return UNDEFINED;
  const p = Math.exp(logProb);
  return p >= 0.001 ? p.toPrecision(2) : signed(p.toExponential(0));
}

function bytes(value) {
  if (value >= 1e9) return (value / 1e9).toFixed(1) + " GB";
  return value >= 1e6 ? (value / 1e6).toFixed(0) + " MB" : (value / 1e3).toFixed(0) + " kB";
}

function seconds(value) {
  if (value === null || value === undefined) return "unknown";
  if (value >= 5400) return (value / 3600).toFixed(1) + " h";
  return value >= 90 ? (value / 60).toFixed(1) + " min" : number(value, 2) + " s";
}

function words(name) {
  return name.replaceAll("_", " ");
}

// What may be wider than the screen, reached by keyboard, too.
function scrolled(label, ...content) {
  return el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": label }, content);
}

function fold(name, content) {
  return content && el("details", null, el("summary", null, name), content);
}

function mean(values) {
  const known = values.filter((v) => v !== null && v !== undefined);
  return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
}
