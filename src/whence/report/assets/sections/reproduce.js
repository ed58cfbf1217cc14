// How to run it again.

function isMap(value) {
  return value && typeof value === "object" && Object.keys(value).length > 0;
}

function pairs(object) {
  const text = (v) => (typeof v === "object" && v !== null ? JSON.stringify(v) : String(v));
  const row = ([key, value]) => {
    const cell = el("td", { class: "mono" }, said(text(value)));
    return el("tr", null, el("th", { scope: "row" }, words(key)), cell);
  };
  return el("table", null, el("tbody", null, Object.entries(object).map(row)));
}

function json(value) {
  return el("pre", null, said(JSON.stringify(value, null, 2)));
}

// Settings hold the texts of behaviors, too.
function masked(value) {
  return maskable(DATA.has_sensitive, "Settings", () => json(value));
}

async function download() {
  const file = new Blob([JSON.stringify(await whole(DATA))], { type: "application/json" });
  const url = URL.createObjectURL(file);
  el("a", { href: url, download: "whence-page.json" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

function methodSettings() {
  return Object.fromEntries(DATA.methods.map((m) => [m.name, m.settings]));
}

function moduleTables(modules) {
  return el(
    "div",
    null,
    el("h3", null, "Attributed"),
    pairs(modules.attributed),
    el("h3", null, "Left out"),
    pairs(modules.left_out),
  );
}

section("reproduce", (data) => {
  const versions = Object.entries(data.versions).map(([name, version]) => `${name} ${version}`);
  const label = "Download the data of this page (JSON)";
  return el(
    "section",
    { id: "reproduce" },
    el("h2", null, "Run it again"),
    data.commands.length
      ? el("pre", null, said(data.commands.join("\n")))
      : el("p", { class: "soft" }, "The commands were not recorded."),
    versions.length > 0 && [
      el("h3", null, "Versions"),
      el("p", { class: "mono" }, said(versions.join(" \u00b7 "))),
    ],
    el("h3", null, "Hashes"),
    pairs(data.hashes),
    fold("Settings", isMap(data.settings) && masked(data.settings)),
    fold("Settings of each method", DATA.methods.length > 0 && json(methodSettings())),
    fold("Seconds", isMap(data.seconds) && pairs(data.seconds)),
    fold("Attributed modules, and what is left out", data.modules && moduleTables(data.modules)),
    fold("The rest of the manifest", isMap(data.manifest) && masked(data.manifest)),
    el("p", null, el("button", { class: "link", type: "button", onclick: download }, label)),
  );
});
