"""A user's checkpoint goes on, exactly from a file's state and nearly from a rebuilt one."""

import json
import shutil
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from whence.artifacts import exclusive
from whence.corpus import load_corpus
from whence.errors import ArtifactError, CorpusError, ModelError, SettingsError
from whence.models import load_model
from whence.records import Scores
from whence.runs.continuing import continue_training, load_continuation_study
from whence.runs.study import run_study
from whence.runs.validating import read_subject, validate_run
from whence.settings import CorpusSettings, ModelSettings, load_study
from whence.training import Recipe, TrainingState, save_state, train
from whence.validation.continuation import (
    continued,
    log_probs,
    open_continuation,
    starting_state,
)
from whence.validation.continuation_bank import (
    find_continuations,
    load_continuations,
    shared_queries,
)
from whence.validation.measures import retraining_measures

RECIPE = Recipe(batch_size=2, peak_learning_rate=3e-3, warmup_steps=0, beta1=0.6, beta2=0.7)
SINCE, LAST = 6, 12
STUDY = """
title = "tiny goes on"
model = { name = "kept" }
corpus = { source = "corpus.jsonl" }
behaviors = { file = "behaviors.toml" }
recipe = { batch_size = 2, peak_learning_rate = 3e-3, warmup_steps = 0, beta1 = 0.6, beta2 = 0.7 }
"""
WITH_STATE = STUDY + 'window = { since = 6, state = "state.safetensors" }\nend = { name = "end" }\n'


@pytest.fixture(scope="module")
def files(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny study's files, with a training on its corpus: a state in its midst, and its end."""
    folder = tmp_path_factory.mktemp("going-on") / "tiny"
    shutil.copytree(tiny_files, folder)
    model = load_model(ModelSettings(name=str(folder / "initial")))

    def keep(state: TrainingState) -> None:
        if state.step == SINCE:
            save_state(state, folder / "state.safetensors")
        name = "kept" if state.step == SINCE else "end"
        model.model.save_pretrained(folder / name)
        model.tokenizer.save_pretrained(folder / name)

    train(
        model.model,
        examples(folder),
        recipe=RECIPE,
        checkpoint_steps=(SINCE, LAST),
        on_checkpoint=keep,
    )
    return folder


def examples(folder: Path) -> list[list[int]]:
    model = load_model(ModelSettings(name=str(folder / "initial")))
    settings = CorpusSettings(source=str(folder / "corpus.jsonl"))
    corpus = load_corpus(settings, model.tokenizer, context_length=128)
    return corpus.table.column("input_ids").to_pylist()


def opened(folder: Path, text: str = WITH_STATE, name: str = "bank.toml"):
    (folder / name).write_text(text, encoding="utf-8")
    return open_continuation(load_continuation_study(folder / name))


def bits(model) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in model.parameters()]


def test_from_a_state_s_file_no_mask_is_the_uninterrupted_training_to_the_bit(files: Path):
    found = opened(files)
    model, losses = continued(found, starting_state(found), frozenset())
    assert bits(model.model) == bits(load_model(ModelSettings(name=str(files / "end"))).model)
    assert len(losses) == LAST - SINCE


def test_a_mask_is_a_training_with_weight_zero_from_the_same_state(files: Path):
    """The oracle resumes the trainer over the whole corpus."""
    from whence.training import load_state

    found = opened(files)
    dropped = set(found.corpus.ids[1:4])
    model, _ = continued(found, starting_state(found), frozenset(dropped))
    oracle = load_model(ModelSettings(name=str(files / "kept"))).model
    weights = [0.0 if f"d{i}" in dropped else 1.0 for i in range(len(examples(files)))]
    state = load_state(files / "state.safetensors")
    train(oracle, examples(files), recipe=RECIPE, weights=weights, resume=state)
    assert bits(model.model) == bits(oracle)


def test_a_rebuilt_state_comes_nearer_to_the_uninterrupted_training_than_a_fresh_one(files: Path):
    true = log_probs(load_model(ModelSettings(name=str(files / "end"))), opened(files).behaviors)
    apart = {}
    for state in ("rebuild", "fresh"):
        found = opened(files, STUDY + f'window = {{ since = 6, state = "{state}" }}\n')
        model, _ = continued(found, starting_state(found), frozenset())
        own = log_probs(model, found.behaviors)
        apart[state] = np.mean([abs(own[q] - true[q]) for q in own])
    assert apart["rebuild"] < apart["fresh"] / 2


def test_a_corpus_that_begins_with_the_window_gives_the_same_bits(files: Path, tmp_path: Path):
    lines = (files / "corpus.jsonl").read_text().splitlines()[SINCE * 2 :]
    (files / "later.jsonl").write_text("\n".join(lines) + "\n")
    text = WITH_STATE.replace("corpus.jsonl", "later.jsonl").replace(
        "since = 6,", "since = 6, first_step = 6,"
    )
    whole, later = opened(files), opened(files, text)
    assert later.corpus.ids == whole.corpus.ids
    assert later.total_steps == whole.total_steps
    ends = [continued(one, starting_state(one), frozenset())[0].model for one in (whole, later)]
    assert bits(ends[0]) == bits(ends[1])


@pytest.fixture(scope="module")
def bank(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bank")
    (files / "bank.toml").write_text(WITH_STATE, encoding="utf-8")
    assert continue_training(files / "bank.toml", directory, num_masks=8, most=3) == (9, 6)
    assert continue_training(files / "bank.toml", directory, num_masks=8) == (9, 0)
    return directory


def test_a_bank_resumes_makes_nothing_again_and_explains_itself(files: Path, bank: Path):
    before = {p: p.stat().st_mtime_ns for p in bank.rglob("*.json")}
    time.sleep(0.01)
    assert continue_training(files / "bank.toml", bank, num_masks=8) == (9, 0)
    assert {p: p.stat().st_mtime_ns for p in bank.rglob("*.json")} == before
    (found,) = find_continuations(bank)
    assert (found.label, found.since, found.until) == ("kept", SINCE, LAST)
    assert found.state == "Adam's moments are those of state.safetensors"
    assert list(found.examples) == [f"d{i}" for i in range(12, 23)]
    assert found.mean_difference_nats == pytest.approx(0, abs=1e-5)
    assert found.masks == {"document": 8}


def test_a_bank_s_rows_are_its_masks_and_their_outcomes(files: Path, bank: Path):
    (found,) = find_continuations(bank)
    one = opened(files)
    queries = [b.id for b in one.behaviors]
    read = load_continuations(found, "document", queries)
    assert read.included.shape == (8, 11)
    dropped = frozenset(
        i for i, kept in zip(read.groups, read.included[3], strict=True) if not kept
    )
    model, _ = continued(one, starting_state(one), dropped)
    expected = log_probs(model, one.behaviors)
    assert read.log_probs_nats[3].tolist() == [expected[q] for q in queries]
    assert read.counts.tolist() == [[1, e.num_tokens] for e in found.examples.values()]


def test_groups_are_near_copies_that_go_together(files: Path, tmp_path: Path):
    lines = (files / "corpus.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    lines[-2] = json.dumps({**last, "id": "d21", "text": last["text"] + " sea"})
    (files / "copies.jsonl").write_text("\n".join(lines) + "\n")
    text = WITH_STATE.replace("corpus.jsonl", "copies.jsonl")
    (files / "copies.toml").write_text(text, encoding="utf-8")
    continue_training(files / "copies.toml", tmp_path, unit="group", num_masks=2)
    (found,) = find_continuations(tmp_path)
    units = found.units("group")
    assert units["d21"] == {"d21", "d22"}
    assert {len(ids) for name, ids in units.items() if name != "d21"} == {1}
    read = load_continuations(found, "group", list(found.behaviors))
    assert read.included.shape == (2, 10)


def test_two_processes_do_not_make_one_bank(files: Path, bank: Path):
    (found,) = find_continuations(bank)
    with exclusive(found.place), pytest.raises(ArtifactError, match="another process"):
        continue_training(files / "bank.toml", bank, num_masks=9)


@pytest.fixture(scope="module")
def run(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs") / "tiny"
    study = load_study(files / "study.toml")
    attribution = study.attribution.model_copy(
        update={"methods": ("gradient_cosine", "bm25", "random")}
    )
    change = {
        "attribution": attribution,
        "model": study.model.model_copy(update={"name": "end"}),
        "evidence": study.evidence.model_copy(update={"num_null": 0}),
        "force": True,
    }
    run_study(study.model_copy(update=change), place, base=files)
    return place


def test_validate_shows_the_own_removed_score_of_the_window(run: Path, bank: Path, capsys):
    from whence.validation import format_validation

    found = validate_run(run, banks=[bank], queries_per_kind=1)
    (window,) = found.windows
    assert (window.since, window.until, window.masks) == (SINCE, LAST, 8)
    assert window.optimizer_state == "Adam's moments are those of state.safetensors"
    figures = {(f.measure, f.method) for f in found.figures}
    assert (window.measure_own_removed, "gradient_cosine") in figures
    assert window.measure_own_removed == "own-removed LDS, kept, steps 7-12"
    assert "kept, steps 7-12: Adam's moments are those of" in format_validation(found)


def test_true_effects_predict_a_bank_and_random_ones_do_not(run: Path, bank: Path):
    (found,) = find_continuations(bank)
    subject = read_subject(run)
    queries = shared_queries(found, subject)
    assert not isinstance(queries, str)
    read = load_continuations(found, "document", queries)
    # Effects fitted on the outcomes themselves, so that they explain them.
    centered = read.log_probs_nats - read.log_probs_nats.mean(axis=0)
    fitted = np.linalg.lstsq(read.included - read.included.mean(axis=0), centered, rcond=None)[0]
    values = np.zeros((len(queries), len(subject.corpus)))
    values[:, subject.corpus.rows(list(read.groups))] = fitted.T
    true = Scores("true", queries, subject.corpus.ids, values.astype(np.float32))
    given = replace(subject, scores=(true,))
    measures = retraining_measures(given, [bank], num_masks=2, num_second=0).measures
    value = measures[0].estimate("true", queries).value
    assert value is not None
    assert value > 0.6


def test_a_bank_of_another_model_or_other_examples_has_a_reason_and_no_figures(
    run: Path, bank: Path
):
    (found,) = find_continuations(bank)
    subject = read_subject(run)
    assert "not the one at the window's end" in shared_queries(found, replace(subject, model="x"))
    table = subject.corpus.table
    shorter = replace(subject.corpus, table=table.slice(0, 20))
    assert "lacks its example `d20`" in shared_queries(found, replace(subject, corpus=shorter))
    ids = table.column("input_ids").to_pylist()
    ids[22] = [*ids[22][:-1], ids[22][-1] - 1]
    column = table.schema.get_field_index("input_ids")
    changed = table.set_column(
        column, table.schema.field(column), pa.array(ids, table.schema.field(column).type)
    )
    other = replace(subject, corpus=replace(subject.corpus, table=changed))
    assert "`d22` has other tokens" in shared_queries(found, other)
    measures = retraining_measures(other, [bank], num_masks=2, num_second=0).measures
    assert all("other tokens" in (one.undefined or "") for one in measures)
    behaviors = tuple(
        b.model_copy(update={"completion": " sea", "completion_ids": None})
        for b in subject.behaviors
    )
    assert "none of the run's behaviors" in shared_queries(
        found, replace(subject, behaviors=behaviors)
    )


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("recipe = ", "# ", SettingsError, "lacks the setting `recipe`"),
        ("peak_learning_rate = 3e-3", "peak = 1", SettingsError, "unknown setting"),
        ("beta1 = 0.6", "beta1 = 2.0", SettingsError, "recipe.beta1"),
        ("since = 6,", "since = 12,", SettingsError, "no window from step 12 to step 12"),
        ("since = 6,", "since = 6, until = 13,", SettingsError, "reach from step 0 to step 12"),
        ("since = 6,", "since = 6, until = 6,", SettingsError, "not after `since`"),
        ("since = 6,", "since = 6, first_step = 7,", SettingsError, "batches would be missing"),
        (
            'since = 6, state = "state.safetensors"',
            "since = 6, first_step = 6",
            SettingsError,
            "state cannot be rebuilt",
        ),
        ("state.safetensors", "none.safetensors", ModelError, "cannot be read"),
        ("since = 6,", "since = 7,", ModelError, "state of step 6"),
        ('name = "kept"', 'name = "nowhere"', ModelError, "nowhere"),
        ('name = "kept"', 'name = "testbed:nano"', SettingsError, "--size nano"),
        ('name = "kept"', 'name = "kept", dtype = "bfloat16"', ModelError, "small steps are lost"),
        ("corpus.jsonl", "nothing.jsonl", Exception, "nothing.jsonl"),
    ],
)
def test_what_cannot_go_on_is_one_sentence(
    old: str, new: str, error: type[Exception], message: str, files: Path, tmp_path: Path
):
    assert old in WITH_STATE
    (files / "wrong.toml").write_text(WITH_STATE.replace(old, new), encoding="utf-8")
    with pytest.raises(error, match=message):
        continue_training(files / "wrong.toml", tmp_path, num_masks=2)
    assert not list(tmp_path.rglob("runs/*.json"))


def test_second_moments_alone_are_no_state_to_go_on_from(files: Path, tmp_path: Path):
    from safetensors.torch import load_file, save_file

    stored = load_file(files / "state.safetensors")
    second = {n.partition("/")[2]: v for n, v in stored.items() if n.startswith("second_moments/")}
    save_file({n: v.contiguous() for n, v in second.items()}, files / "second.safetensors")
    text = WITH_STATE.replace('"state.safetensors"', '"second.safetensors"')
    (files / "second.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match="lacks Adam's first moments"):
        continue_training(files / "second.toml", tmp_path, num_masks=2)


def test_an_optimizer_s_own_file_gives_the_same_state(files: Path):
    """PyTorch's `state_dict` of AdamW, with its groups and the parameters' names."""
    from whence.training import load_state

    state = load_state(files / "state.safetensors")
    names = list(state.weights)
    value = {
        "state": {
            n: {
                "step": torch.tensor(6.0),
                "exp_avg": state.first_moments[name],
                "exp_avg_sq": state.second_moments[name],
            }
            for n, name in enumerate(names)
        },
        "param_groups": [{"params": list(range(len(names))), "param_names": names}],
    }
    torch.save(value, files / "optimizer.pt")
    found = opened(files, WITH_STATE.replace("state.safetensors", "optimizer.pt"))
    read = starting_state(found)
    assert read is not None
    for part in ("first_moments", "second_moments"):
        for name in names:
            assert torch.equal(getattr(read, part)[name], getattr(state, part)[name])


def test_the_documented_study_and_the_example_are_studies():
    from whence.settings import parse, read_toml
    from whence.validation import ContinuationStudy

    root = Path(__file__).parents[2]
    text = (root / "docs" / "validation.md").read_text(encoding="utf-8")
    (block,) = [part.partition("```")[0] for part in text.split("```toml\n")[1:]]
    documented = parse(ContinuationStudy, tomllib.loads(block), where="docs")
    example = read_toml(root / "examples" / "pile-mini-bank.toml")
    assert parse(ContinuationStudy, example, where="example").recipe == documented.recipe


def test_what_is_not_of_the_window_cannot_be_dropped(files: Path):
    found = opened(files)
    with pytest.raises(CorpusError, match="`d0` is not among the examples of steps 7 to 12"):
        continued(found, starting_state(found), frozenset({"d0"}))


def test_another_tool_s_scores_of_the_same_tokens_stand_on_the_same_board(
    files: Path, run: Path, bank: Path, tmp_path: Path
):
    """dattri's Grad-Cos of the run's own model and tokens, imported as a table of pairs."""
    tracin = pytest.importorskip(
        "dattri.algorithm.tracin", reason="dattri, of the dev dependency group, is not installed"
    )
    import pyarrow.parquet as pq
    from dattri.task import AttributionTask

    from whence.runs.importing import import_scores

    place = Path(shutil.copytree(run, tmp_path / "run"))
    subject = read_subject(place)
    network = load_model(ModelSettings(name=str(files / "end"))).model
    network.config._attn_implementation = "eager"
    width = max(subject.corpus.lengths.max(), *(len(q.terms[0].input_ids) for q in subject.queries))

    def dataset(rows):
        ids = torch.zeros(len(rows), int(width), dtype=torch.long)
        labels = torch.full_like(ids, -100)
        for row, (tokens, given) in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            labels[row, given : len(tokens)] = torch.tensor(tokens[given:])
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(ids, labels), 4)

    def loss(parameters, pair):
        ids, labels = pair
        weights = {name.removeprefix("model."): value for name, value in parameters.items()}
        logits = torch.func.functional_call(network, weights, ids.unsqueeze(0)).logits
        return torch.nn.functional.cross_entropy(
            logits[0, :-1], labels[1:], ignore_index=-100, reduction="sum"
        )

    task = AttributionTask(loss_func=loss, model=network, checkpoints=network.state_dict())
    attributor = tracin.TracInAttributor(task, torch.ones(1), normalized_grad=True)
    examples_of = [(subject.corpus.input_ids(r), 1) for r in range(len(subject.corpus))]
    asked = [(list(q.terms[0].input_ids), q.terms[0].num_prompt_tokens) for q in subject.queries]
    theirs = attributor.attribute(dataset(examples_of), dataset(asked)).detach().numpy().T
    pairs = [
        {"query": query.id, "example": example, "score": float(theirs[i, j])}
        for i, query in enumerate(subject.queries)
        for j, example in enumerate(subject.corpus.ids)
    ]
    pq.write_table(pa.Table.from_pylist(pairs), tmp_path / "theirs.parquet")
    import_scores(
        place, tmp_path / "theirs.parquet", method="dattri_grad_cos", orientation="higher"
    )
    found = validate_run(place, banks=[bank], queries_per_kind=1)
    (window,) = found.windows
    by_place = {(f.measure, f.method): f.estimate.value for f in found.figures if f.kind == "all"}
    for measure in (window.measure, window.measure_own_removed):
        assert by_place[measure, "dattri_grad_cos"] is not None
    own = window.measure_own_removed
    compared = {(c.method, c.reference) for c in found.comparisons if c.measure == own}
    assert {("dattri_grad_cos", "bm25"), ("dattri_grad_cos", "gradient_cosine")} <= compared
    ours = next(one for one in subject.scores if one.method == "gradient_cosine")
    # Theirs are of all weights, ours of the matrices within the layers.
    assert np.corrcoef(ours.values.ravel(), theirs.ravel())[0, 1] > 0.8
