"use strict";

// Unpacks the page's data: blocks of compressed columns, in base64; `whence.report.pack` wrote them.

const UNPACKED = new Map();

// Stands for a block that is not unpacked yet.
class Block {
  constructor(number) {
    this.number = number;
  }
}

// An own property, whatever its name: a run may call something `__proto__`.
function put(object, key, value) {
  if (key !== "__proto__") object[key] = value;
  else Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
}

function plainKey(key) {
  return key.startsWith("$") ? key.slice(1) : key;
}

// Makes records of columns, all the way down.
function records(value) {
  if (Array.isArray(value)) return value.map(records);
  if (value === null || typeof value !== "object") return value;
  if (Object.hasOwn(value, "$block")) return new Block(value.$block);
  if (Object.hasOwn(value, "$rows")) return recordsOf(value);
  if (Object.hasOwn(value, "$lengths")) return listsOf(value);
  const found = {};
  for (const key of Object.keys(value)) put(found, plainKey(key), records(value[key]));
  return found;
}

function recordsOf({ $rows: num, $same: same, ...columns }) {
  const found = Array.from({ length: num }, () => ({}));
  for (const key of Object.keys(same)) {
    const value = records(same[key]);
    for (const record of found) put(record, plainKey(key), value);
  }
  for (const key of Object.keys(columns)) {
    const column = records(columns[key]);
    const name = plainKey(key);
    for (let i = 0; i < num; i++) put(found[i], name, column[i]);
  }
  return found;
}

function listsOf({ $lengths: lengths, $flat: flat }) {
  const items = records(flat);
  let at = 0;
  return lengths.map((length) => items.slice(at, (at += length)));
}

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
}

async function inflated(number) {
  const bytes = bytesOf(document.getElementById("block-" + number).textContent);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return records(JSON.parse(await new Response(stream).text()));
}

// A block's value; each is unpacked once.
function unpack(number) {
  if (!UNPACKED.has(number)) UNPACKED.set(number, inflated(number));
  return UNPACKED.get(number);
}

function plainNotice(text) {
  const notice = document.createElement("p");
  notice.className = "notice";
  notice.textContent = text;
  document.getElementById("main").replaceChildren(notice);
}

let PAGE = null;

async function startPage(draw) {
  if (typeof DecompressionStream === "undefined") {
    plainNotice(
      "This browser is too old to unpack the page. Chrome and Edge can since version 80, Firefox since 113 and " +
        'Safari since 16.4. The command "whence show" prints the same examples in a terminal.',
    );
    return;
  }
  try {
    PAGE = await unpack(0);
  } catch {
    plainNotice('The data of this page are damaged. The command "whence report" writes it again.');
    return;
  }
  await draw();
}
