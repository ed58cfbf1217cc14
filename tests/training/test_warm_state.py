"""A rebuilt state has the moments that a plain loop collects, and continues as training did."""

import copy
import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.methods.conftest import corpus_of, fit

from whence.corpus import load_corpus
from whence.errors import CorpusError, ModelError, SettingsError
from whence.models import in_dtype, load_model
from whence.records import Corpus, LoadedModel
from whence.settings import CorpusSettings, ModelSettings
from whence.training import Recipe, TrainingState, learning_rate, num_steps, train
from whence.training.warm_state import rebuild_state, warm_state_stage

# β₂ = .8 remembers as little of 15 steps as .95 of 60.
RECIPE = Recipe(batch_size=3, peak_learning_rate=1e-3, warmup_steps=2, beta1=0.7, beta2=0.8)
KEPT = 24


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    rng = np.random.default_rng(0)
    sequences = [rng.integers(2, 80, n).tolist() for n in rng.integers(5, 14, 100)]
    return corpus_of(sequences, [f"d{i}" for i in range(len(sequences))])


@pytest.fixture(scope="module")
def kept(corpus: Corpus) -> tuple[LoadedModel, TrainingState]:
    """A model in the midst of its training, and the true state there."""
    model = fit([[1, 2]], steps=0)
    states: list[TrainingState] = []
    train(
        model.model,
        corpus.table.column("input_ids").to_pylist(),
        recipe=RECIPE,
        checkpoint_steps=(KEPT,),
        on_checkpoint=lambda state: states.append(copy.deepcopy(state)),
        stop_after=KEPT,
    )
    return model, states[0]


def losses_after(model, corpus, **start) -> list[float]:
    network = copy.deepcopy(model.model)
    examples = corpus.table.column("input_ids").to_pylist()
    total = num_steps(RECIPE, len(examples))
    log = train(
        network,
        examples[KEPT * RECIPE.batch_size :],
        recipe=RECIPE,
        since=KEPT,
        schedule=lambda step: learning_rate(RECIPE, step, total_steps=total),
        **start,
    )
    return [entry.loss_nats for entry in log]


def test_the_moments_are_those_of_a_plain_loop(kept, corpus) -> None:
    model, num_collected = kept[0], 5
    found = rebuild_state(model, corpus, recipe=RECIPE, step=KEPT, num_steps=num_collected)
    network = copy.deepcopy(model.model)
    names = dict(network.named_parameters())
    m, v = ({k: torch.zeros_like(p) for k, p in names.items()} for _ in range(2))
    for step in range(KEPT - num_collected, KEPT):
        network.zero_grad()
        batch = [corpus.input_ids(3 * step + i) for i in range(3)]
        targets = sum(len(ids) - 1 for ids in batch)
        for ids in batch:
            row = torch.tensor([ids])
            logp = network(input_ids=row).logits[0, :-1].log_softmax(-1)
            (-logp.gather(1, row[0, 1:, None]).sum() / targets).backward()
        norm = torch.stack([p.grad.square().sum() for p in names.values()]).sum().sqrt()
        scale = min(1.0, 1 / (norm.item() + 1e-6))
        for k, p in names.items():
            m[k] = 0.7 * m[k] + 0.3 * scale * p.grad
            v[k] = 0.8 * v[k] + 0.2 * (scale * p.grad) ** 2
    assert found.step == KEPT
    for k, p in names.items():
        # What bias correction at the state's step makes of them is what it is at the fifth.
        mean = found.first_moments[k] / (1 - 0.7**KEPT)
        square = found.second_moments[k] / (1 - 0.8**KEPT)
        assert torch.allclose(mean, m[k] / (1 - 0.7**5), rtol=1e-4, atol=1e-7), k
        assert torch.allclose(square, v[k] / (1 - 0.8**5), rtol=1e-4, atol=1e-10), k
        assert torch.equal(found.weights[k], p), k


def test_a_run_goes_on_from_it_as_it_did_and_not_from_a_fresh_state(kept, corpus) -> None:
    model, true = kept
    rebuilt = rebuild_state(model, corpus, recipe=RECIPE, step=KEPT, num_steps=15)
    expected = losses_after(model, corpus, resume=true)
    distance = {
        name: np.abs(np.subtract(losses_after(model, corpus, **start), expected)).mean()
        for name, start in {"rebuilt": {"resume": rebuilt}, "fresh": {}}.items()
    }
    assert distance["rebuilt"] < distance["fresh"] / 4


def test_the_model_and_its_flags_are_left_alone(kept, corpus) -> None:
    model = copy.deepcopy(kept[0].model)
    first = next(model.parameters())
    first.requires_grad_(False)
    for parameter in model.parameters():
        parameter.grad = None
    before = {k: p.detach().clone() for k, p in model.named_parameters()}
    loaded = LoadedModel(model, kept[0].tokenizer, "tiny", "tiny", 64)
    state = rebuild_state(loaded, corpus, recipe=RECIPE, step=KEPT, num_steps=2)
    assert not first.requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(p, before[k]) for k, p in model.named_parameters())
    # The first parameter took part all the same: training has no frozen weights.
    assert all(v.any() for v in state.second_moments.values())


def test_the_batches_are_those_of_the_given_order(kept, corpus) -> None:
    backwards = list(reversed(range(len(corpus))))
    turned = corpus_of([corpus.input_ids(row) for row in backwards], [f"e{i}" for i in backwards])
    first = rebuild_state(kept[0], corpus, recipe=RECIPE, step=KEPT, order=backwards, num_steps=3)
    second = rebuild_state(kept[0], turned, recipe=RECIPE, step=KEPT, num_steps=3)
    for k, value in first.first_moments.items():
        assert torch.equal(value, second.first_moments[k])


def test_before_so_many_steps_all_there_are_count_and_nothing_is_scaled(kept, corpus) -> None:
    few = rebuild_state(kept[0], corpus, recipe=RECIPE, step=2, num_steps=2)
    many = rebuild_state(kept[0], corpus, recipe=RECIPE, step=2, num_steps=60)
    for k, value in few.second_moments.items():
        assert torch.equal(value, many.second_moments[k])


def test_a_kept_state_is_the_rebuilt_one_and_opens_no_model_again(kept, corpus, tmp_path) -> None:
    def stage(open_model, **other):
        settings = {"recipe": RECIPE, "step": KEPT, "num_steps": 2, **other}
        return warm_state_stage("tiny", open_model, corpus, **settings)

    made = stage(lambda: kept[0])
    made.make_in(tmp_path / "state")
    again = stage(pytest.fail)
    assert again.is_current_in(tmp_path / "state")
    found = again.read(tmp_path / "state")
    expected = rebuild_state(kept[0], corpus, recipe=RECIPE, step=KEPT, num_steps=2)
    assert found.step == KEPT
    for part in ("weights", "first_moments", "second_moments"):
        for name, value in getattr(expected, part).items():
            assert torch.equal(getattr(found, part)[name], value)
    others = [
        stage(pytest.fail, num_steps=3),
        stage(pytest.fail, step=KEPT - 1),
        stage(pytest.fail, order=range(len(corpus))),
        stage(pytest.fail, recipe=RECIPE.model_copy(update={"beta2": 0.9})),
    ]
    assert len({one.key for one in (made, *others)}) == 5


def test_a_corpus_that_ends_before_the_checkpoint_is_refused(kept, corpus) -> None:
    # 100 examples are 34 batches; the last one has a single example.
    rebuild_state(kept[0], corpus, recipe=RECIPE, step=34, num_steps=1)
    with pytest.raises(CorpusError, match="end before step 35"):
        rebuild_state(kept[0], corpus, recipe=RECIPE, step=35, num_steps=1)


def test_step_zero_and_a_rounded_model_have_no_state(kept, corpus) -> None:
    with pytest.raises(SettingsError, match="before step 0"):
        rebuild_state(kept[0], corpus, recipe=RECIPE, step=0)
    rounded = in_dtype(copy.deepcopy(kept[0]), "bfloat16")
    with pytest.raises(ModelError, match="loaded in bfloat16"):
        rebuild_state(rounded, corpus, recipe=RECIPE, step=KEPT)


@pytest.mark.slow
def test_real_training_goes_on_along_its_published_log(data: Path) -> None:
    place, step = data / "pile-mini", 1000
    model = load_model(ModelSettings(name=str(place / f"checkpoints/step{step}"), device="cpu"))
    corpus = load_corpus(
        CorpusSettings(
            source=str(place / "train.jsonl.gz"), append_eos=True, max_documents=(step + 30) * 8
        ),
        model.tokenizer,
        context_length=256,
    )
    recipe = Recipe(batch_size=8, peak_learning_rate=3e-3, warmup_steps=100)
    with (place / "train_log.csv").open() as lines:
        published = {int(row["step"]): float(row["loss"]) for row in csv.DictReader(lines)}
    state = rebuild_state(model, corpus, recipe=recipe, step=step)
    later = [corpus.input_ids(row) for row in range(step * 8, len(corpus))]
    distance = {}
    for name, start in {"rebuilt": {"resume": state}, "fresh": {}}.items():
        log = train(
            copy.deepcopy(model.model),
            later,
            recipe=recipe,
            since=step,
            schedule=lambda s: learning_rate(recipe, s, total_steps=2530),
            **start,
        )
        distance[name] = np.mean([entry.loss_nats - published[entry.step] for entry in log])
    print(f"mean loss above the log over 30 steps, nats: {distance}")
    assert abs(distance["rebuilt"]) < 0.006
    assert distance["fresh"] > 0.05
