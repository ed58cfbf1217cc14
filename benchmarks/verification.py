"""How often does a verdict say "shown" or "weak" of what a model does not do?

Facts: true ones of `known_1000`, and the same prompts with another answer of the relation, asked of
two models that know hardly any. Stereotypes: WinoBias sentences up to their pronoun, and the same
with the other pronoun, with and without the sentence in which the two occupations are swapped. A
rule that tells something apart says it more often of the first than of the second. About a minute
of one core; needs WHENCE_DATA.
"""

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from measure import report

from whence.behaviors import verify
from whence.models import load_model
from whence.records import Behavior, LoadedModel
from whence.settings import ModelSettings, VerifySettings
from whence.statistics import newcombe, proportion

DATA = Path(os.environ.get("WHENCE_DATA", ""))
MODELS = {
    "stories260K": DATA / "stories260k",
    "pile-mini": DATA / "pile-mini" / "checkpoints" / "step2530",
}
NUM_PAIRS = 80
# Of one relation; a few large relations would be all of it otherwise.
PER_RELATION = 6
NUM_OTHERS = 3
_PRONOUN = {"he": "she", "she": "he", "his": "her", "her": "his", "him": "her"}


def main() -> None:
    """Verifies all of it with each model and writes `results/latest/verification.json`."""
    rows: list[dict[str, Any]] = []
    for name, place in MODELS.items():
        model = load_model(ModelSettings(name=str(place)))
        true, untrue = _facts()
        rows += _rows(name, "facts, three alternatives and controls", model, true, untrue)
        bare = [[_without_controls(b) for b in some] for some in (true, untrue)]
        rows += _rows(name, "facts, without controls", model, *bare)
        pro, anti = _stereotypes()
        rows += _rows(name, "WinoBias, with its swapped counterpart", model, pro, anti)
        bare = [[_without_controls(b) for b in some] for some in (pro, anti)]
        rows += _rows(name, "WinoBias, without a counterpart", model, *bare)
    report("verification.json", rows)
    for row in rows:
        told = ", ".join(f"{k} {v}/{row['n']}" for k, v in row["counts"].items())
        print(f"{row['model']:<12}{row['about']:<40}{row['which']:<8}{told}")


def _rows(
    name: str,
    about: str,
    model: LoadedModel,
    first: Sequence[Behavior],
    second: Sequence[Behavior],
) -> list[dict[str, Any]]:
    """Counts verdicts of what is so and of what is not, and their difference with its interval."""
    rows, counts = [], []
    for which, behaviors in (("first", first), ("second", second)):
        found = verify(behaviors, model, settings=VerifySettings())
        leads = [v.margin_nats is not None and v.margin_nats > 0 for v in found]
        verdicts = Counter(v.verdict for v in found)
        own = {
            "leads": sum(leads),
            "shown": verdicts["shown"],
            "shown or weak": verdicts["shown"] + verdicts["weak"],
        }
        counts.append(own)
        shares = {k: proportion(v, len(found)).as_dict() for k, v in own.items()}
        rows.append(
            {"model": name, "about": about, "which": which, "n": len(found)}
            | {"counts": own, "shares": shares}
        )
    for key in counts[0]:
        low, high, _ = newcombe(
            counts[0][key], len(first), reference=(counts[1][key], len(second)), confidence=0.95
        )
        rows[-2].setdefault("first minus second", {})[key] = [low, high]
    return rows


def _without_controls(behavior: Behavior) -> Behavior:
    return behavior.model_copy(update={"controls": (), "counterparts": ()})


def _facts() -> tuple[list[Behavior], list[Behavior]]:
    """True facts, and the same prompts with another answer of the same relation."""
    by_relation: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for row in json.loads((DATA / "queries" / "known_1000.json").read_text(encoding="utf-8")):
        if row["prompt"].startswith(row["subject"]) or row["subject"] in row["prompt"]:
            by_relation[row["relation_id"]].append(row)
    true, untrue = [], []
    for relation, rows in sorted(by_relation.items()):
        answers = sorted({row["attribute"] for row in rows})
        if len(answers) < NUM_OTHERS + 2 or len(rows) < NUM_OTHERS + 1:
            continue
        for place, row in enumerate(rows[:PER_RELATION]):
            others = [one for one in answers if one != row["attribute"]]
            start = place % len(others)
            wrong, *alternatives = (others[start:] + others[:start])[: NUM_OTHERS + 1]
            subjects = [one["subject"] for one in rows if one["attribute"] != row["attribute"]]
            controls = [
                row["prompt"].replace(row["subject"], subject)
                for subject in dict.fromkeys(subjects[place:] + subjects[:place])
                if subject != row["subject"]
            ][:NUM_OTHERS]
            for answer, made in ((row["attribute"], true), (wrong, untrue)):
                made.append(
                    Behavior(
                        id=f"fact/{relation}-{place}",
                        kind="fact",
                        prompt=row["prompt"],
                        completion=f" {answer}",
                        alternatives=tuple(f" {one}" for one in alternatives),
                        controls=tuple(controls),
                    )
                )
    return true, untrue


def _stereotypes() -> tuple[list[Behavior], list[Behavior]]:
    """WinoBias sentences up to their pronoun, with the stereotyped pronoun and with the other."""
    lines = (DATA / "queries" / "winobias_pro_stereotyped_type1.txt").read_text().splitlines()
    groups = _groups(lines)
    pro: list[Behavior] = []
    anti: list[Behavior] = []
    for number, line in enumerate(lines):
        sentence = line.split(" ", 1)[1]
        before, pronoun = _up_to_pronoun(sentence)
        swapped = _swapped(before, groups)
        if swapped is None or pronoun not in _PRONOUN or len(pro) == NUM_PAIRS:
            continue
        for said, made in ((pronoun, pro), (_PRONOUN[pronoun], anti)):
            made.append(
                Behavior(
                    id=f"stereotype/{number}",
                    kind="stereotype",
                    prompt=before,
                    completion=f" {said}",
                    alternatives=(f" {_PRONOUN[said] if said != 'her' else _back(pronoun)}",),
                    counterparts=(swapped,),
                )
            )
    return pro, anti


def _back(pronoun: str) -> str:
    """What stands against `her`: `his` or `him`, as the sentence has it."""
    return pronoun if pronoun != "her" else "his"


def _groups(lines: Iterable[str]) -> list[str]:
    """The occupations: what stands in the first bracket of some sentence, the longest first."""
    named = {match.lower() for line in lines for match in re.findall(r"\[[Tt]he ([^\]]+)\]", line)}
    return sorted(named, key=lambda name: (-len(name), name))


def _up_to_pronoun(sentence: str) -> tuple[str, str]:
    start = sentence.rindex("[")
    before = sentence[:start].replace("[", "").replace("]", "").rstrip()
    return before, sentence[start + 1 : sentence.index("]", start)]


def _swapped(text: str, groups: Sequence[str]) -> str | None:
    """The sentence with its two occupations in each other's places."""
    form = re.compile(rf"\b({'|'.join(map(re.escape, groups))})\b")
    found = list(dict.fromkeys(form.findall(text)))
    if len(found) != 2:
        return None
    other = {found[0]: found[1], found[1]: found[0]}
    return form.sub(lambda match: other[match.group()], text)


if __name__ == "__main__":
    main()
