// Which behaviors and examples are listed: shared by the list, its neighbors' links, and the cards.

function pairAgreement(behavior) {
  const { a, b } = STATE;
  return a === null || a === b ? null : jaccard(behavior.agreement, a, b);
}

// Whether the first proponent by a method was planted for the behavior; null where nothing was.
function firstIsPlanted(behavior, method) {
  const result = of(behavior.results, method);
  if (!result || !behavior.num_planted) return null;
  return result.first.length > 0 && behavior.firsts[result.first[0].shown].is_planted;
}

const HAS_EVIDENCE = DATA.reading.num_null !== null;
const HAS_GAP = HAS_EVIDENCE && DATA.reading.method !== null && DATA.reading.search !== null;
const IS_PLANTED = DATA.examples.length > 0 && (sectionData("behaviors")?.has_planted ?? false);

function isOf(relations) {
  return (entry, relation) => relations.includes(relation);
}

// A preset with `keep` selects examples, and the behaviors that have one; one with `test` behaviors.
// `by` is the method whose list is meant, where it is not the chosen one.
const PRESETS = {
  untied: {
    name: () => "no visible tie",
    hint: "Examples that nothing visible ties to the behavior, noise left out.",
    applies: HAS_EVIDENCE,
    keep: isOf(UNTIED),
  },
  only: {
    name: () => "found only by " + methodLabel(gapMethod()),
    hint: "Examples of which search lists no copy among its first ones.",
    applies: HAS_GAP,
    by: () => gapMethod(),
    keep: (entry) => entry.is_only === true,
  },
  search: {
    name: () => "found only by " + methodLabel(DATA.reading.search),
    hint: "Examples of which the method on gradients lists no copy among its first ones.",
    applies: HAS_GAP,
    by: () => DATA.reading.search,
    keep: (entry) => entry.is_only === true,
  },
  exact: {
    name: () => "exact copies",
    hint: "Examples that contain the text of the behavior, or all of its completion.",
    applies: HAS_EVIDENCE,
    keep: isOf(SAME_TEXT),
  },
  disagree: {
    name: () => "methods disagree",
    hint: "The two compared methods share no example among their first ones.",
    applies: DATA.methods.length > 1,
    test: (b) => pairAgreement(b) === 0,
  },
  missed: {
    name: () => "first is not planted",
    hint: "Examples were planted for the behavior, and the first proponent is none of them.",
    applies: IS_PLANTED,
    test: (b) => firstIsPlanted(b, STATE.a) === false,
  },
};

const SUBSETS = [...new Set(BEHAVIORS.flatMap((b) => b.firsts.map((first) => first.subset)))]
  .filter((name) => name !== null)
  .sort();
const HAS_TIMES = BEHAVIORS.some((b) => b.firsts.some((first) => first.trained !== null));
const TIMES = {
  early: { name: "trained on early", hint: "In the first half of training.", test: (share) => share < 0.5 },
  late: { name: "trained on late", hint: "In the second half of training.", test: (share) => share >= 0.5 },
};

// Search is compared with the first method on gradients, any other method with search.
function gapMethod() {
  return STATE.a === DATA.reading.search ? DATA.reading.method : STATE.a;
}

function listMethod() {
  return (STATE.preset && PRESETS[STATE.preset].by?.()) || STATE.a;
}

// Of an example in some list, the first ones of which are known before the others are unpacked.
function relationOf(behavior, entry) {
  const first = behavior.firsts[entry.shown];
  return first ? first.relation : (detailOf(behavior).shown[entry.shown].tie?.relation ?? null);
}

function isOfTime({ trained }) {
  return trained !== null && TIMES[STATE.time].test(trained);
}

// Whether some filter selects examples.
function isNarrowed() {
  return Boolean((STATE.preset && PRESETS[STATE.preset].keep) || STATE.hubs || STATE.subset || STATE.time);
}

// Whether the filters keep an example of a method's list.
function isKept(behavior, entry) {
  if (STATE.hubs && isHub(entry)) return false;
  const facts = behavior.firsts[entry.shown] ?? detailOf(behavior).shown[entry.shown];
  if (STATE.subset && facts.subset !== STATE.subset) return false;
  if (STATE.time && !isOfTime(facts)) return false;
  const keep = STATE.preset && PRESETS[STATE.preset].keep;
  return !keep || keep(entry, relationOf(behavior, entry));
}

// Of the first proponents of the chosen method, those that the filters keep.
function keptEntries(behavior) {
  const method = listMethod();
  const first = of(behavior.results, method)?.first ?? [];
  return first.filter((entry) => isKept(behavior, entry));
}

function countRelations(behavior, entries) {
  const counts = {};
  for (const entry of entries) {
    const relation = relationOf(behavior, entry);
    if (relation) counts[relation] = (counts[relation] ?? 0) + 1;
  }
  return counts;
}

function matches(behavior) {
  if (STATE.kind && behavior.kind !== STATE.kind) return false;
  if (STATE.verdict && verdictOf(behavior) !== STATE.verdict) return false;
  const preset = STATE.preset && PRESETS[STATE.preset];
  if (preset?.test && !preset.test(behavior)) return false;
  const isSelective = preset?.keep || STATE.subset || STATE.time;
  if (isSelective && !keptEntries(behavior).length) return false;
  if (!STATE.q) return true;
  const { id, kind, prompt, subject, relation, object } = behavior;
  const parts = [id, kind, prompt, completionText(behavior), subject, relation, object];
  const hay = parts.join("\n").toLowerCase();
  return STATE.q
    .toLowerCase()
    .split(/\s+/)
    .every((word) => hay.includes(word));
}

// What is most worth reading: no visible tie, then little in common with search. Sorting is stable.
function worth(behavior) {
  const result = of(behavior.results, STATE.a);
  if (!result) return -1;
  if (!result.relations) return 0;
  const numUntied = UNTIED.reduce((sum, name) => sum + (of(result.relations, name) ?? 0), 0);
  return 1000 * numUntied + (result.gap?.num_only ?? 0);
}

function listedBehaviors() {
  const list = KINDS.flatMap((kind) => BEHAVIORS.filter((b) => b.kind === kind && matches(b)));
  return STATE.sort === "study" ? list : list.sort((x, y) => worth(y) - worth(x));
}

// The behavior before or after one in the list, or among all where it is not listed.
function neighbor(behavior, by) {
  const listed = listedBehaviors();
  const list = listed.includes(behavior) ? listed : BEHAVIORS;
  return list[list.indexOf(behavior) + by] || null;
}
