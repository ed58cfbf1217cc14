// Which behaviors are listed, and what each shows: shared by the list and by its neighbors' links.

function pairAgreement(behavior) {
  const { a, b } = STATE;
  return a === null || a === b ? null : jaccard(behavior.agreement, a, b);
}

// Whether the first proponent by a method was planted for the behavior; null where nothing was.
function firstIsPlanted(behavior, method) {
  const result = of(behavior.results, method);
  if (!result || !behavior.num_planted) return null;
  return result.proponents.length > 0 && behavior.shown[result.proponents[0].shown].is_planted;
}

const PRESETS = {
  disagree: {
    name: "methods disagree",
    hint: "The two compared methods share no example among their first ones.",
    test: (b) => pairAgreement(b) === 0,
  },
  gold: {
    name: "first is planted",
    hint: "The first proponent was planted for the behavior.",
    test: (b) => firstIsPlanted(b, STATE.a) === true,
  },
  missed: {
    name: "first is not planted",
    hint: "Examples were planted for the behavior, and the first proponent is none of them.",
    test: (b) => firstIsPlanted(b, STATE.a) === false,
  },
};

function matches(behavior) {
  if (STATE.kind && behavior.kind !== STATE.kind) return false;
  if (STATE.verdict && verdictOf(behavior) !== STATE.verdict) return false;
  if (STATE.preset && !PRESETS[STATE.preset].test(behavior)) return false;
  if (!STATE.q) return true;
  const { id, kind, prompt, subject, relation, object } = behavior;
  const parts = [id, kind, prompt, completionText(behavior), subject, relation, object];
  const hay = parts.join("\n").toLowerCase();
  return STATE.q
    .toLowerCase()
    .split(/\s+/)
    .every((word) => hay.includes(word));
}

// The behavior before or after one in the list, or among all where it is not listed.
function neighbor(behavior, by) {
  const listed = KINDS.flatMap((kind) => BEHAVIORS.filter((b) => b.kind === kind && matches(b)));
  const list = listed.includes(behavior) ? listed : BEHAVIORS;
  return list[list.indexOf(behavior) + by] || null;
}
