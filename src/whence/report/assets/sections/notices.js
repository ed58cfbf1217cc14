// What a reader should know before the results.

section("notices", ({ forced, messages }) => {
  const were = forced.length === 1 ? "was" : "were";
  const warning =
    `${plural(forced.length, "behavior")} not shown by the model ${were} attributed all the same, ` +
    "because the study asked for it. What is found for them explains nothing that the model does.";
  const texts = forced.length ? [warning, ...messages] : messages;
  return el(
    "ul",
    { class: "notices", "aria-label": "Warnings" },
    texts.map((text) => el("li", { class: "notice" }, said(shorten(text, 1200)))),
  );
});
