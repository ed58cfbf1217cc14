// The page of `whence serve`. Every text of a model or a corpus becomes a text node, never markup.
"use strict";

const $ = (id) => document.getElementById(id);
const POLL_MS = 150;
let state = null;
let asked = null; // the address of the job that runs for this page
let tokens = [];
let tokenPrompt = "";
let picked = null; // first and last chosen token

function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(key, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { "content-type": "application/json" } });
  } catch {
    throw { problem: "The server does not answer.", remedy: "Start it again with `whence serve`." };
  }
  let values;
  try {
    values = await response.json();
  } catch {
    throw { problem: `The server answered ${response.status}.`, remedy: "Try again." };
  }
  if (!response.ok) throw values.error ?? { problem: `The server answered ${response.status}.`, remedy: "" };
  return values;
}

function fail(error) {
  $("error").replaceChildren(
    el("p", {}, error.problem ?? String(error)),
    el("p", { class: "quiet" }, error.remedy ?? ""),
  );
  $("error").hidden = false;
}

function busy(isBusy) {
  for (const id of ["ask", "complete"]) $(id).disabled = isBusy;
  $("cancel").hidden = !isBusy;
  if (!isBusy) {
    $("progress").hidden = true;
    $("status").textContent = "";
  }
}

function report(job) {
  if (job.state === "waiting") {
    const others = job.position - 1;
    $("status").textContent = others ? `Waiting: ${others} before this one.` : "Waiting for the one that runs.";
  } else {
    $("status").textContent = job.step ? `${job.step}` : "Working.";
  }
  const known = job.state === "running" && job.total;
  $("progress").hidden = !known;
  if (known) $("progress").value = Math.min(1, job.done / job.total);
}

// Sends a question, follows its job, and gives the result; null where it was cancelled.
async function run(path, question) {
  $("error").hidden = true;
  busy(true);
  try {
    let job = await call(path, { method: "POST", body: JSON.stringify(question) });
    asked = `/api/jobs/${job.id}`;
    while (job.state === "waiting" || job.state === "running") {
      report(job);
      await new Promise((wake) => setTimeout(wake, POLL_MS));
      job = await call(asked);
    }
    if (job.state === "failed") throw job.error;
    if (job.state === "cancelled") return null;
    return { ...job.result, seconds: job.seconds };
  } finally {
    asked = null;
    busy(false);
  }
}

const shownSpaces = (text) => text.replaceAll(" ", "·").replaceAll("\n", "⏎");
const optional = (id) => ($(id).value === "" ? null : $(id).value);
const number = (value, digits) =>
  value === null ? "—" : value.toFixed(digits).replace("-", "−");

function question() {
  const methods = [...$("methods").querySelectorAll("input:checked")].map((box) => box.value);
  return {
    prompt: $("prompt").value,
    completion: $("completion").value,
    alternative: optional("alternative"),
    subject: optional("subject"),
    object: optional("object"),
    kind: $("kind").value,
    k: Number($("k").value) || 10,
    methods,
    force: $("force").checked,
  };
}

function marked(hit) {
  if (hit.text === null) return [el("i", {}, "The text is not known.")];
  const edges = new Set([0, hit.text.length]);
  for (const [start, end] of [...hit.spans, ...hit.answers]) edges.add(start).add(end);
  const places = [...edges].sort((a, b) => a - b);
  const within = (spans, place) => spans.some(([start, end]) => start <= place && place < end);
  const parts = [];
  for (let i = 0; i + 1 < places.length; i++) {
    const text = hit.text.slice(places[i], places[i + 1]);
    if (within(hit.answers, places[i])) parts.push(el("mark", { class: "answer" }, text));
    else if (within(hit.spans, places[i])) parts.push(el("mark", {}, text));
    else parts.push(text);
  }
  if (hit.num_cut) parts.push(el("i", {}, ` … ${hit.num_cut.toLocaleString("en")} more characters`));
  return parts;
}

function masked(hit) {
  const holder = el("div");
  const show = () => holder.replaceChildren(el("p", { class: "text", tabindex: "0" }, ...marked(hit)));
  if (!hit.is_sensitive) show();
  else {
    const button = el("button", { type: "button" }, "Text masked, as it may offend. Show it");
    button.addEventListener("click", () => {
      show();
      holder.firstChild.focus();
    });
    holder.append(el("p", {}, button));
  }
  return holder;
}

function strength(hit, numNull) {
  if (hit.z === null || hit.tail === null) return null;
  const share = 100 * (1 - hit.tail);
  const chance = hit.tail <= 0.05 ? "above chance" : "within chance";
  const words = `z ${number(hit.z, 1)}, ${chance}: stronger than ${share.toFixed(0)} % of unrelated queries at this rank`;
  return el("span", { title: `Compared with ${numNull} unrelated queries.` }, words);
}

function card(hit, numNull, place) {
  const relation = hit.relation
    ? el("span", { class: "relation", title: hit.relation.detail || null }, hit.relation.label)
    : null;
  return el(
    "li",
    { class: "hit" },
    el(
      "p",
      { class: "facts" },
      el("span", {}, place),
      el("span", {}, `score ${number(hit.score, 4)}`),
      relation,
      strength(hit, numNull),
      el("span", {}, `id ${hit.id}`),
      hit.subset ? el("span", {}, hit.subset) : null,
      hit.labels.length ? el("span", {}, hit.labels.join(", ")) : null,
    ),
    masked(hit),
  );
}

function list(ranking, numNull) {
  const proponents = ranking.proponents.map((hit, i) => card(hit, numNull, `${i + 1}.`));
  const opponents = ranking.opponents.map((hit, i) => card(hit, numNull, `−${i + 1}.`));
  return el(
    "div",
    { class: "list" },
    el("h3", {}, ranking.label),
    el("p", { class: "quiet" }, `Higher means: ${ranking.higher_means}.`),
    proponents.length ? el("ol", {}, ...proponents) : el("p", {}, "No example has a positive score."),
    opponents.length
      ? el("details", {}, el("summary", {}, `${opponents.length} opponents`), el("ol", {}, ...opponents))
      : null,
  );
}

function verdict(found) {
  const { verification } = found;
  const name = verification.verdict[0].toUpperCase() + verification.verdict.slice(1);
  const rows = verification.completion.tokens.map((token, i) =>
    el(
      "tr",
      {},
      el("td", {}, shownSpaces(token)),
      el("td", { class: "number" }, number(verification.completion.log_probs_nats[i], 2)),
      el("td", { class: "number" }, String(verification.completion.ranks[i])),
    ),
  );
  return [
    el("h2", {}, "Does the model do this?"),
    el("p", {}, el("span", { class: `verdict ${verification.verdict.replace(" ", "-")}` }, name), `. ${verification.reason}`),
    ...found.notes.map((note) => el("p", { class: "remark" }, note)),
    el(
      "details",
      {},
      el("summary", {}, "Token by token"),
      el(
        "table",
        {},
        el("thead", {}, el("tr", {}, el("th", {}, "token"), el("th", {}, "log-probability, nats"), el("th", {}, "rank"))),
        el("tbody", {}, ...rows),
      ),
    ),
  ];
}

function show(found) {
  const parts = verdict(found);
  if (found.rankings.length) {
    parts.push(
      el("h2", {}, "What is tied to it?"),
      el("p", { class: "quiet" }, "A score is an estimate, not proof that an example caused this."),
      el("div", { class: "lists" }, ...found.rankings.map((one) => list(one, found.num_null))),
    );
  } else {
    const anyway = el("button", { type: "button" }, "Rank examples anyway");
    anyway.addEventListener("click", () => {
      $("force").checked = true;
      $("form").requestSubmit();
    });
    parts.push(
      el("p", {}, "The model does not show this, so there is no cause to look for and nothing was ranked."),
      el("p", {}, anyway),
    );
  }
  parts.push(el("p", { class: "quiet" }, `Answered in ${found.seconds.toFixed(1)} s.`));
  $("answer").replaceChildren(...parts);
  $("answer").hidden = false;
}

function showTokens() {
  const isPicked = (i) => picked !== null && picked[0] <= i && i <= picked[1];
  const buttons = tokens.map((token, i) => {
    const button = el("button", { type: "button", "aria-pressed": String(isPicked(i)) }, shownSpaces(token));
    button.addEventListener("click", () => {
      picked = picked === null || picked[0] !== picked[1] || i < picked[0] ? [i, i] : [picked[0], i];
      $("prompt").value = tokenPrompt + tokens.slice(0, picked[0]).join("");
      $("completion").value = tokens.slice(picked[0], picked[1] + 1).join("");
      showSpaces();
      showTokens();
      $("tokens").children[i].focus();
    });
    return button;
  });
  $("tokens").replaceChildren(...buttons);
}

function showSpaces() {
  const text = $("completion").value;
  $("visible").textContent = text ? `read as ${shownSpaces(text)}` : "";
}

async function start() {
  state = await call("/api/state");
  document.title = `${state.title}, live`;
  $("title").textContent = state.title;
  const { num_examples: size, name } = state.corpus;
  $("about").textContent =
    `${state.model} · ${size.toLocaleString("en")} examples of ${name}. ` +
    "Only these are searched: not found is not absent.";
  $("notes").replaceChildren(...state.notes.map((note) => el("li", {}, note)));
  if (state.has_page) $("about").append(" ", el("a", { href: "/page" }, "The run's page"));
  $("kind").replaceChildren(...state.kinds.map((kind) => el("option", { value: kind }, kind)));
  const took = state.stream_seconds ? `, about ${Math.ceil(state.stream_seconds)} s` : "";
  $("methods").replaceChildren(
    ...state.methods.map((method) => {
      const box = el("input", { type: "checkbox", value: method.name });
      box.checked = !method.is_streamed && method.name !== "gradient_dot";
      const pass = method.is_streamed ? ` (a pass over all examples${took})` : "";
      return el("label", { title: method.about }, box, ` ${method.label}${pass}`);
    }),
  );
  $("prompt").maxLength = state.limits.prompt;
  $("completion").maxLength = state.limits.completion;
  for (const [i, one] of state.behaviors.entries()) $("start").append(el("option", { value: String(i) }, one.id));
  $("start-row").hidden = !state.behaviors.length;
}

$("start").addEventListener("change", () => {
  const one = state.behaviors[Number($("start").value)];
  if ($("start").value === "" || !one) return;
  for (const key of ["prompt", "completion", "subject", "object", "kind"]) $(key).value = one[key] ?? "";
  $("alternative").value = "";
  showSpaces();
});
$("completion").addEventListener("input", showSpaces);
$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if ($("ask").disabled) return;
  try {
    const found = await run("/api/queries", question());
    if (found !== null) show(found);
  } catch (error) {
    fail(error);
  }
});
$("complete").addEventListener("click", async () => {
  try {
    const found = await run("/api/completions", { prompt: $("prompt").value });
    if (found === null) return;
    [tokens, tokenPrompt, picked] = [found.tokens, found.prompt, null];
    showTokens();
  } catch (error) {
    fail(error);
  }
});
$("cancel").addEventListener("click", () => {
  if (asked !== null) call(asked, { method: "DELETE" }).catch(fail);
});
start().catch(fail);
