// What the page can and cannot say.

section("limits", ({ sentences }) =>
  el(
    "section",
    { class: "limits", id: "limits" },
    el("h2", null, "What this page can and cannot say"),
    el(
      "ul",
      null,
      sentences.map((text) => el("li", null, text)),
    ),
  ),
);
