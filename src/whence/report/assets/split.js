// Of which tokens and layers an example's score is the sum, on its text and in numbers.

// Of the strongest tokens, so many are listed.
const MOST_TOKENS = 8;
const THOUSANDTHS = 1000;

function share(thousandths) {
  return percent(thousandths / THOUSANDTHS, Math.abs(thousandths) < 100 ? 1 : 0);
}

// A share is never told by its color alone: what works against the behavior is underlined otherwise.
function tokenMark(content, part, largest) {
  const strength = Math.ceil((3 * Math.abs(part)) / largest);
  if (10 * Math.abs(part) < largest) return el("span", { class: "tok" }, content);
  const cls = "tok " + (part > 0 ? "for" : "against") + strength;
  return el("span", { class: cls, title: share(part) }, content);
}

// Every token of the part of the text that the page carries, with its place in it.
function carriedTokens(example, split) {
  const { length, slice } = slicer(example.text);
  const first = example.first_character;
  let at = 0;
  return split.characters.map((num, place) => {
    const [a, b] = [Math.max(0, at - first), Math.min(length, at + num - first)];
    at += num;
    return { place, part: split.tokens[place], text: a < b ? slice(a, b) : "", end: b };
  });
}

function tokenText(example, tokens) {
  const largest = Math.max(1, ...tokens.map(({ part }) => Math.abs(part)));
  const { length, slice } = slicer(example.text);
  const last = Math.max(0, ...tokens.map(({ end }) => end));
  const rest = last < length ? slice(last, length) : "";
  const marks = tokens.filter(({ text }) => text).map(({ text, part }) => tokenMark(visible(text), part, largest));
  return el("p", { class: "body", dir: "auto" }, marks, visible(rest));
}

function tokenList(tokens) {
  const strongest = tokens
    .filter(({ text, part }) => text && part)
    .sort((x, y) => Math.abs(y.part) - Math.abs(x.part))
    .slice(0, MOST_TOKENS);
  if (!strongest.length) return null;
  const item = ({ text, part, place }) =>
    el(
      "li",
      { title: `token ${count(place + 1)}` },
      el("q", { class: "text" }, said(text.trim() || "\u2423")),
      " ",
      el("b", null, share(part)),
    );
  return el(
    "div",
    null,
    el("p", { class: "small soft" }, "The strongest tokens, strongest first:"),
    el("ol", { class: "spans" }, strongest.map(item)),
  );
}

// One column per layer, up for a positive share and down for a negative one.
function layerBars(names, parts) {
  const [wide, tall, base] = [Math.max(14, Math.min(40, 420 / names.length)), 44, 48];
  const [most, least] = [Math.max(0, ...parts), Math.min(0, ...parts)];
  const scale = tall / Math.max(1, most - least);
  const zero = base - tall + most * scale;
  const width = names.length * wide + 4;
  const label = "Shares by layer: " + names.map((name, n) => `${name} ${share(parts[n])}`).join(", ");
  const bar = (part, n) =>
    svg(
      "rect",
      {
        class: part < 0 ? "against" : null,
        x: 2 + n * wide,
        y: part < 0 ? zero : zero - part * scale,
        width: wide - 3,
        height: Math.max(0.5, Math.abs(part) * scale),
      },
      svg("title", null, `${names[n]}: ${share(part)}`),
    );
  return el(
    "figure",
    { class: "layers" },
    svg(
      "svg",
      { viewBox: `0 0 ${width} 56`, width, height: 56, role: "img", "aria-label": label },
      parts.map(bar),
      svg("line", { class: "axis", x1: 0, x2: width, y1: zero, y2: zero }),
    ),
    el("figcaption", { class: "small soft" }, label, "."),
  );
}

function splitContent(example, split) {
  const what = `Shares of the score by ${methodLabel(DATA.reading.split_method)}; together 100%. `;
  const how = "Underlined: works for the behavior, the thicker the more; dotted: works against it.";
  const unspelled =
    "The tokens do not spell the text, so that they cannot be shown on it; " +
    "whence show --tokens prints them.";
  const tokens = split.characters && carriedTokens(example, split);
  return [
    el("p", { class: "small soft" }, what, tokens && how),
    tokens ? [tokenText(example, tokens), tokenList(tokens)] : el("p", { class: "small" }, unspelled),
    layerBars(DATA.reading.layers, split.layers),
  ];
}

// Made when it is opened: a text has hundreds of tokens.
function splitPart(shown, example, method) {
  const { split } = shown;
  if (!split || !DATA.reading.split_alike.includes(method)) return null;
  const holder = el("details", { class: "split" }, el("summary", null, "Which tokens and layers it comes from"));
  holder.addEventListener("toggle", () => {
    if (holder.open && holder.children.length === 1) add(holder, splitContent(example, split));
  });
  return holder;
}

// Why a method's examples have no such split here.
function splitNote(method) {
  const { split_method: own, split_alike: alike } = DATA.reading;
  if (own === null || alike.includes(method.name)) return null;
  const why = method.is_sum
    ? `split by tokens and layers with: whence show RUN --behavior ID --method ${method.name} --tokens`
    : "no sum over tokens and layers of the model, so that they have no split";
  return el("p", { class: "small soft" }, "Its scores are " + why + ".");
}
