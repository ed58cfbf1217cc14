"""Steps on single examples, and on random ones like them."""

import copy

import numpy as np
import pytest
import torch

from whence.behaviors.measure import measure
from whence.behaviors.query import Pair
from whence.errors import ArtifactError, CorpusError
from whence.validation import (
    ExampleEffect,
    ExampleEffects,
    read_example_effects,
    save_example_effects,
    step_on_examples,
)

RATE = 1e-3


@pytest.fixture
def step(model, corpus, queries):
    def on(example_ids, *, num_controls=3, no_controls=(), seed=0):
        return step_on_examples(
            model,
            corpus,
            queries[0],
            example_ids,
            num_controls=num_controls,
            no_controls=no_controls,
            learning_rate=RATE,
            rng=np.random.default_rng(seed),
        )

    return on


def test_an_effect_is_what_one_step_of_adamw_does_to_the_completion(model, corpus, queries, step):
    term = queries[0].terms[0]
    pair = Pair(
        list(term.input_ids[: term.num_prompt_tokens]),
        list(term.input_ids[term.num_prompt_tokens :]),
    )
    before = measure(model, [pair], names=["q"])[0].log_prob_nats
    for one in step([corpus.ids[1], corpus.ids[9]]):
        stepped = copy.deepcopy(model.model).requires_grad_(True)
        ids = torch.tensor([corpus.input_ids(corpus.rows([one.example_id])[0])])
        optimizer = torch.optim.AdamW(stepped.parameters(), lr=RATE, weight_decay=0.0)
        stepped(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        logits = (
            stepped(input_ids=torch.tensor([list(term.input_ids)]))
            .logits[0]
            .detach()
            .log_softmax(-1)
        )
        places = range(term.num_prompt_tokens, len(term.input_ids))
        after = sum(float(logits[i - 1, term.input_ids[i]]) for i in places)
        assert one.change_nats == pytest.approx(after - before, abs=2e-4)


def test_weights_come_back_to_the_bit(model, corpus, step):
    before = [p.detach().clone() for p in model.model.parameters()]
    step([corpus.ids[1]])
    assert all(torch.equal(a, b) for a, b in zip(before, model.model.parameters(), strict=True))


def test_controls_are_none_of_the_examples_and_none_that_are_ruled_out(corpus, step):
    ruled_out = list(range(30))
    for seed in range(5):
        found = step([corpus.ids[35]], num_controls=4, no_controls=ruled_out, seed=seed)
        controls = {one.example_id for one in found if one.is_control}
        assert len(controls) == 4
        assert not controls & {corpus.ids[row] for row in [35, *ruled_out]}


def test_an_example_without_a_target_is_not_stepped_on(corpus, step):
    assert step([corpus.ids[-1]]) == []
    listed = [one.example_id for one in step([corpus.ids[-1], corpus.ids[2]]) if not one.is_control]
    assert listed == [corpus.ids[2]]


def test_a_corpus_without_enough_others_is_refused(corpus, step):
    with pytest.raises(CorpusError, match="3 random controls were requested"):
        step([corpus.ids[1]], no_controls=list(range(len(corpus) - 3)))


EFFECTS = ExampleEffects(
    methods=("gradient_cosine", "bm25"),
    num_examples=2,
    learning_rate=RATE,
    effects=(
        ExampleEffect("q", "a", False, 0.5),
        ExampleEffect("q", "b", False, 0.1),
        ExampleEffect("q", "c", True, -0.1),
        ExampleEffect("r", "a", True, 0.2),
    ),
)


def test_a_control_is_no_listed_example_of_another_behavior():
    assert EFFECTS.find("q", "a") == 0.5
    assert EFFECTS.find("q", "c") is None
    assert EFFECTS.find("r", "a") is None
    assert EFFECTS.controls("q") == (-0.1,)
    assert EFFECTS.controls("unknown") == ()


def test_a_mean_is_undefined_where_an_example_was_not_stepped_on():
    assert EFFECTS.mean("q", ["a", "b"]) == pytest.approx(0.3)
    assert EFFECTS.mean("q", ["a", "z"]) is None
    assert EFFECTS.mean("q", []) is None


def test_the_record_comes_back_as_it_was_kept(tmp_path):
    save_example_effects(EFFECTS, tmp_path)
    assert read_example_effects(tmp_path) == EFFECTS


@pytest.mark.parametrize("content", ["", "{}", '{"methods": 3}'])
def test_a_broken_record_is_one_sentence(tmp_path, content):
    (tmp_path / "effects.json").write_text(content)
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_example_effects(tmp_path)
