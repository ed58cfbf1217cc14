// Which method to use for what, folded to a line.

section("advice", ({ reading, purposes, always }) => {
  const answer = ({ question, methods, missing, grounds }) =>
    el(
      "li",
      null,
      el("strong", null, question),
      ` ${methods}. ${grounds}`,
      missing.length > 0 && el("span", { class: "soft small" }, ` Not in this run: ${missing.join(", ")}.`),
    );
  return el(
    "details",
    { class: "line", id: "advice" },
    el("summary", null, "Which method should I use?"),
    el("p", null, reading),
    el("ul", { class: "limits" }, purposes.map(answer), el("li", null, always)),
  );
});
