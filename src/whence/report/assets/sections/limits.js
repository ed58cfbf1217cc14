// What the page can and cannot say, folded to a line.

section("limits", ({ sentences }) =>
  el(
    "details",
    { class: "line", id: "limits" },
    el("summary", null, "What this page can and cannot say"),
    el(
      "ul",
      { class: "limits" },
      sentences.map((text) => el("li", null, text)),
    ),
  ),
);
