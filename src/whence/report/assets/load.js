// Fetches from the page's own blocks what a view needs, before it is drawn.

const EXAMPLES = [];
const DETAILS = new Map();

// Unpacks the examples of some places; `exampleAt` then knows them.
async function loadExamples(places) {
  const isMissing = ({ first }) => !(first in EXAMPLES);
  const holds = ({ first, num }) => places.some((place) => place >= first && place < first + num);
  const wanted = DATA.examples.filter((range) => isMissing(range) && holds(range));
  await Promise.all(
    wanted.map(async ({ first, texts }) => {
      const { examples } = await unpack(texts.number);
      examples.forEach((example, i) => (EXAMPLES[first + i] = example));
    }),
  );
}

// Unpacks all examples while the reader reads, so that the first click finds them.
function preload() {
  const wait = window.requestIdleCallback ?? ((next) => setTimeout(next, 200));
  const next = (n) => {
    if (n === DATA.examples.length) return;
    wait(async () => {
      await loadExamples([DATA.examples[n].first]);
      next(n + 1);
    });
  };
  next(0);
}

function exampleAt(place) {
  return EXAMPLES[place];
}

// Unpacks what only the view of a behavior shows; `detailOf` then knows it.
async function loadBehavior(behavior) {
  if (DETAILS.has(behavior.id)) return;
  const detail = await unpack(behavior.detail.number);
  await loadExamples(detail.shown.map(({ example }) => example));
  DETAILS.set(behavior.id, detail);
}

function detailOf(behavior) {
  return DETAILS.get(behavior.id);
}

// The whole of the data, with every block in its place.
async function whole(value) {
  if (value instanceof Block) return whole(await unpack(value.number));
  if (Array.isArray(value)) return Promise.all(value.map(whole));
  if (value === null || typeof value !== "object") return value;
  const found = {};
  for (const key of Object.keys(value)) put(found, key, await whole(value[key]));
  return found;
}
