// Pictures of what the listed examples have in common.

section("plots", ({ pictures }) =>
  el(
    "section",
    { id: "plots" },
    el("h2", null, "What the listed examples have in common"),
    el("div", { class: "pictures" }, pictures.map(figureNode)),
  ),
);
