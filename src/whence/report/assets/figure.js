// Pictures of shapes with places; each is saved as SVG, and its numbers as CSV.

function shapeNode({ kind, look, x, y, width, height, opacity, text }) {
  const looks = { class: look, opacity: opacity === 1 ? null : opacity };
  const about = text && svg("title", null, text);
  if (kind === "text") return svg("text", { ...looks, x, y }, text);
  if (kind === "circle") return svg("circle", { ...looks, cx: x, cy: y, r: 4.5 }, about);
  if (kind === "rect") return svg("rect", { ...looks, x, y, width, height }, about);
  return svg("line", { ...looks, x1: x, y1: y, x2: x + width, y2: y + height }, about);
}

function figureSvg({ label, width, height, shapes }) {
  const size = { viewBox: `0 0 ${width} ${height}`, width, height };
  return svg("svg", { class: "fig", ...size, role: "img", "aria-label": label }, shapes.map(shapeNode));
}

function save(name, type, content) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// The rules of the page that a picture needs to stand alone.
function figureStyle() {
  const rules = [...document.styleSheets[0].cssRules].filter((rule) => rule.selectorText?.startsWith(".fig "));
  return rules.map((rule) => rule.cssText).join("\n");
}

function saveSvg(figure) {
  const node = figureSvg(figure);
  node.prepend(svg(`style`, null, figureStyle()));
  save(figure.name + ".svg", "image/svg+xml", new XMLSerializer().serializeToString(node));
}

function csvCell(value) {
  const text = value === null ? "" : String(value);
  return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}

function saveCsv({ name, columns, rows }) {
  const lines = [columns, ...rows].map((row) => row.map(csvCell).join(","));
  save(name + ".csv", "text/csv", lines.join("\n") + "\n");
}

function figureNode(figure) {
  const button = (name, act) => el("button", { class: "link small", type: "button", onclick: act }, name);
  return el(
    "figure",
    { class: "picture" },
    el("h3", null, said(figure.title)),
    scrolled(figure.title, figureSvg(figure)),
    el("figcaption", { class: "soft small" }, said(sentence(figure.caption))),
    el(
      "p",
      { class: "controls" },
      button("Save as SVG", () => saveSvg(figure)),
      button("Save the numbers as CSV", () => saveCsv(figure)),
    ),
  );
}
