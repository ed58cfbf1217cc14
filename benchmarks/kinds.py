"""Do kinds of behavior differ in what they are attributed to, beyond length, words and chance?

Three studies, each compared across kinds beside four controls (`whence compare`):

- mini: all behaviors of the testbed that its model shows, of five kinds and all lengths;
- mini, cut: the same with completions of four tokens and prompts of eight to eleven. Longer ones
  are cut; before shorter prompts stands the end of a text that training did not see, and shorter
  completions go on with what the model itself says next;
- pile-mini: passages that a model of 2.2 million parameters knows by heart, and its styles, as
  `whence discover` finds them, all cut to 24 + 24 tokens. Examples are a pool of the passages:
  those that share 13 tokens with a query (up to 20 each), 30 of each subset, and random others.

An hour and a half of one core; finished work is kept in the place and goes on there.
`make bench-full` runs it; nothing here is asserted.

    python benchmarks/kinds.py [--place runs/kinds] [--passages 2000]
"""

import argparse
import gzip
import json
import random
import sys
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inputs import test_data
from measure import report

from whence.api import discover, load_behaviors, load_model
from whence.behaviors.counterparts import counterparts
from whence.behaviors.generate import greedy_continuations
from whence.behaviors.query import decode, encode_pair
from whence.behaviors.spec import dump_behaviors
from whence.cli.console import progress
from whence.records import Behavior, LoadedModel
from whence.runs.comparing import compare_run
from whence.runs.directory import open_run
from whence.runs.study import run_study
from whence.settings import (
    AttributionSettings,
    BehaviorFile,
    CorpusSettings,
    EvidenceSettings,
    ModelSettings,
    StudySettings,
)
from whence.testbed import held_out_texts
from whence.testbed.plan import held_out_subsets

if TYPE_CHECKING:
    from whence.evidence import Comparison

METHODS = (
    "gradient_cosine", "gradient_dot", "gradient_cosine_initial", "bm25", "embedding", "random",
)  # fmt: skip
NUM_COMPLETION = 4
# Long enough for the line that calls for a rude reply, which shorter cuts lose.
PROMPT_LENGTHS = (8, 9, 10, 11)
NUM_LEADS, LEAD_SEED = 20, 7
NUM_TOKENS = 24
RUN, NUM_SHARING, NUM_OF_SUBSET = 13, 20, 30


def main() -> None:
    """Runs and compares every study, and writes `results/latest/kinds.json`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--place", type=Path, default=Path("runs/kinds"))
    parser.add_argument("--passages", type=int, default=2000)
    parser.add_argument("--only", nargs="*", default=("mini", "mini-cut", "pile-mini"))
    asked = parser.parse_args()
    asked.place.mkdir(parents=True, exist_ok=True)
    makers = {"mini": mini, "mini-cut": mini_cut, "pile-mini": pile_mini}
    rows = []
    for name in asked.only:
        study = makers[name](asked.place, asked.passages)
        place = asked.place / name
        run_study(study, place, progress=progress())
        found = compare_run(place, progress=progress())
        rows.append(row(name, found, seconds=open_run(place).manifest.seconds["comparison"]))
        print(*found.sentences, sep="\n", flush=True)
    if len(rows) == len(makers):
        report("kinds.json", rows, *sys.argv[1:])


def mini(place: Path, num_passages: int) -> StudySettings:
    """The testbed's own behaviors."""
    return _study("testbed:mini", "testbed:mini", "testbed:mini")


def mini_cut(place: Path, num_passages: int) -> StudySettings:
    """The testbed's behaviors, cut to equal lengths."""
    model = load_model("testbed:mini")
    made = _to_length(load_behaviors("testbed:mini"), model)
    file = place / "mini-cut.toml"
    _write(file, dump_behaviors(made))
    return _study("testbed:mini", "testbed:mini", file)


def _to_length(behaviors: Sequence[Behavior], model: LoadedModel) -> list[Behavior]:
    turns = {kind: cycle(PROMPT_LENGTHS) for kind in {one.kind for one in behaviors}}
    leads = cycle(_leads(model))
    others = counterparts([one for one in behaviors if one.kind == "stereotype"])
    made = []
    for one in behaviors:
        if one.prompt_ids is not None:
            prompt, completion = list(one.prompt_ids), list(one.completion_ids or ())
        else:
            prompt, completion = encode_pair(model.tokenizer, one.prompt, one.completion)
        num_prompt = next(turns[one.kind])
        lead = next(leads) if len(prompt) < num_prompt else []
        prompt = (lead + prompt)[-num_prompt:]
        if len(completion) < NUM_COMPLETION:
            [more] = greedy_continuations(
                model, [prompt + completion], num_tokens=NUM_COMPLETION - len(completion)
            )
            completion = completion + list(more.token_ids)
        changes: dict[str, object] = {"alternatives": ()}
        if one.kind in ("fact", "stereotype"):
            # Other prompts would be followed by other words than those that were added.
            changes |= {"paraphrases": (), "controls": ()}
        if one.id in others:
            # The other word before the same rest, and the same sentences about others, cut alike.
            rest = completion[len(encode_pair(model.tokenizer, one.prompt, one.completion)[1]) :]
            pairs = [encode_pair(model.tokenizer, one.prompt, other) for other in one.alternatives]
            said = [[*pair.completion_ids, *rest][:NUM_COMPLETION] for pair in pairs]
            changes["alternatives"] = tuple(decode(model.tokenizer, ids) for ids in said)
            cut = [encode_pair(model.tokenizer, text, one.completion)[0] for text in others[one.id]]
            texts = [decode(model.tokenizer, (lead + ids)[-num_prompt:]) for ids in cut]
            changes["counterparts"] = tuple(texts)
        made.append(_with_ids(one, prompt, completion[:NUM_COMPLETION], model.tokenizer, **changes))
    return made


def _leads(model: LoadedModel) -> list[list[int]]:
    """The ends of held-out texts of every subset, in a random order."""
    texts = [
        text
        for subset in held_out_subsets()
        for text in held_out_texts(subset, num=NUM_LEADS, seed=LEAD_SEED)
    ]
    random.Random(0).shuffle(texts)
    ends = [model.tokenizer.encode(text, add_special_tokens=False) for text in texts]
    return [ids[-max(PROMPT_LENGTHS) :] for ids in ends if len(ids) >= max(PROMPT_LENGTHS)]


def pile_mini(place: Path, num_passages: int) -> StudySettings:
    """Memorized passages and styles of real text, cut to equal lengths."""
    from transformers import PreTrainedTokenizerFast

    data = test_data() / "pile-mini"
    checkpoint, source = data / "checkpoints" / "step2530", data / "train.jsonl.gz"
    found = place / "pile-mini-discovered.toml"
    if not found.is_file():
        discover(str(checkpoint), str(source), found, num=40, progress=progress())
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(checkpoint / "tokenizer.json"), eos_token="<|endoftext|>"
    )
    made = [
        _with_ids(
            one,
            list(one.prompt_ids or ())[-NUM_TOKENS:],
            list(one.completion_ids or ())[:NUM_TOKENS],
            tokenizer,
        )
        for one in load_behaviors(found)
    ]
    behaviors, pool, nulls = (
        place / name for name in ("pile-mini-cut.toml", "pile-mini.jsonl", "null-texts.jsonl")
    )
    _write(behaviors, dump_behaviors(made))
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        passages = [json.loads(line) for line in lines]
    kept = _pool(passages, made, tokenizer, num_passages)
    _write(pool, _lines({**passages[row], "position": row} for row in kept))
    with gzip.open(test_data() / "pile-documents.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"][200:700] for line in islice(lines, 1500)]
    _write(nulls, _lines({"id": str(n), "text": text} for n, text in enumerate(texts) if text))
    return _study(
        str(checkpoint), str(pool), behaviors, initial=str(data / "checkpoints" / "step0"),
        null_texts=str(nulls),
    )  # fmt: skip


def _pool(
    passages: Sequence[dict[str, Any]], behaviors: Sequence[Behavior], tokenizer: Any, num: int
) -> list[int]:
    """Rows of the passages that are attributed, in training order."""
    rng = random.Random(0)
    owners: dict[tuple[int, ...], set[int]] = {}
    for number, one in enumerate(behaviors):
        for run in _runs([*(one.prompt_ids or ()), *(one.completion_ids or ())]):
            owners.setdefault(run, set()).add(number)
    sharing: dict[int, list[int]] = {}
    for row, passage in enumerate(passages):
        runs = _runs(tokenizer.encode(passage["text"]))
        for number in sorted({n for run in runs for n in owners.get(run, ())}):
            sharing.setdefault(number, []).append(row)
    sources = {one.example for one in behaviors}
    kept = {row for row, passage in enumerate(passages) if passage["id"] in sources}
    for _, rows in sorted(sharing.items()):
        kept |= set(rng.sample(rows, min(NUM_SHARING, len(rows))))
    subsets: dict[str, list[int]] = {}
    for row, passage in enumerate(passages):
        if row not in kept:
            subsets.setdefault(passage["subset"], []).append(row)
    for _, rows in sorted(subsets.items()):
        kept |= set(rng.sample(rows, min(NUM_OF_SUBSET, len(rows))))
    rest = [row for row in range(len(passages)) if row not in kept]
    return sorted(kept | set(rng.sample(rest, max(0, num - len(kept)))))


def _runs(ids: Sequence[int]) -> list[tuple[int, ...]]:
    return [tuple(ids[start : start + RUN]) for start in range(len(ids) - RUN + 1)]


def _with_ids(
    one: Behavior, prompt: list[int], completion: list[int], tokenizer: Any, **changes: object
) -> Behavior:
    """A behavior with other tokens, and the texts of these."""
    return one.model_copy(
        update={
            "prompt_ids": tuple(prompt),
            "completion_ids": tuple(completion),
            "prompt": decode(tokenizer, prompt),
            "completion": decode(tokenizer, completion),
            **changes,
        }
    )


def _study(
    model: str,
    corpus: str,
    behaviors: str | Path,
    *,
    initial: str | None = None,
    null_texts: str | None = None,
) -> StudySettings:
    return StudySettings(
        title="Do kinds of behavior differ in what they are attributed to?",
        model=ModelSettings(name=model, initial=initial),
        corpus=CorpusSettings(source=corpus, append_eos=initial is not None),
        behaviors=BehaviorFile(file=str(behaviors)),
        attribution=AttributionSettings(methods=METHODS),
        evidence=EvidenceSettings(num_null=100, null_texts=null_texts),
    )


def _lines(records: Any) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def _write(path: Path, text: str) -> None:
    """Writes a file unless it has that text: a run is made again where a file changed."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def row(name: str, found: "Comparison", *, seconds: float) -> dict[str, Any]:
    """The figures of a comparison: those by cluster, without the ids."""
    stored: dict[str, Any] = found.to_json()
    separations = [one for one in stored["separations"] if one["unit"] == "cluster"]
    compared: dict[tuple[str, ...], list[bool]] = {}
    for gain in found.gains:
        cell = (gain.selection, gain.unit, gain.features, gain.method)
        compared.setdefault(cell, []).append(gain.is_shown)
    values = {
        "case": name,
        "seconds": seconds,
        "selections": [
            {
                "name": one.name,
                "behaviors": {kind: len(ids) for kind, ids in one.behaviors.items()},
                "families": dict(one.num_families),
                "left_out": dict(one.left_out),
                "kept": {unit: list(groups) for unit, groups in one.kept.items()},
            }
            for one in found.selections
        ],
        "accuracy": {
            f"{selection}, {features}": {
                one["method"]: one["accuracy"]
                for one in separations
                if (one["selection"], one["features"]) == (selection, features)
            }
            for selection, features in dict.fromkeys(
                (one["selection"], one["features"]) for one in separations
            )
        },
        "separations": [one for one in separations if one["features"] == "kept"],
        "gains": [
            one
            for one in stored["gains"]
            if one["unit"] == "cluster" and one["features"] in ("kept", "sharing", "concentration")
        ],
        "compared_with_controls": len(compared),
        "gains_over_every_control": [cell for cell, shown in compared.items() if all(shown)],
        "kind_overlap": stored["kind_overlap"],
        "undefined": stored["undefined"],
    }
    return _rounded(values)


def _rounded(value: Any) -> Any:
    """Values with three decimals."""
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
