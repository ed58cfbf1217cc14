"""What re-verifies is what `generate` reproduces; probabilities are those of sampling."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.memorization.pythia_standin import PROMPT, StandIn, loaded, make_model, write_tokenizer
from tests.memorization.pythia_standin import write_standin as write

from whence.errors import SettingsError
from whence.memorization.extraction import (
    Sampling,
    extractible_share,
    extraction_probability,
    sampled_log_probs,
    samples_needed,
)
from whence.memorization.reverification import Reverification, reverify
from whence.memorization.sequences import Sequences, read_sequences
from whence.records import LoadedModel
from whence.statistics import proportion


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    return write(tmp_path_factory.mktemp("standin"), num_contents=12)


@pytest.fixture(scope="module")
def sequences(standin: StandIn) -> Sequences:
    return read_sequences(str(standin.random_sample))


@pytest.fixture(scope="module")
def model(standin: StandIn, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A model that knows the first nine of twelve contents, one of them with two other tokens."""
    known = standin.contents[:9].copy()
    known[8, 62:64] = 1
    tokenizer = write_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    return loaded(make_model(known), tokenizer)


@pytest.fixture(scope="module")
def found(model: LoadedModel, sequences: Sequences) -> Reverification:
    return reverify(model, sequences.windows, step=9)


def test_the_same_windows_are_reproduced_by_generate(
    model: LoadedModel, sequences: Sequences, found: Reverification
) -> None:
    network: Any = model.model
    tokens = torch.tensor(sequences.windows.tokens.astype(np.int64))
    out = network.generate(
        tokens[:, :PROMPT],
        attention_mask=torch.ones_like(tokens[:, :PROMPT]),
        max_new_tokens=32,
        do_sample=False,
        pad_token_id=0,
    )
    matches = (out[:, PROMPT:] == tokens[:, PROMPT:]).numpy()
    assert found.matches.tolist() == matches.tolist()
    assert found.is_reproduced.tolist() == [all(row) for row in matches]
    assert found.num_matching.tolist() == matches.sum(axis=1).tolist()
    firsts = [next((i for i, ok in enumerate(row) if not ok), 32) for row in matches]
    assert found.first_error.tolist() == firsts
    assert found.is_reproduced.sum() == 8


def test_decoding_and_the_teacher_forced_pass_err_first_at_the_same_token(
    found: Reverification,
) -> None:
    assert found.num_disagreements == 0
    assert found.scan.is_extractible.tolist() == found.is_reproduced.tolist()


def test_near_misses_are_kept_with_their_measures(
    standin: StandIn, sequences: Sequences, found: Reverification
) -> None:
    (near,) = found.near_misses()
    assert near.id == str(standin.memorized[8])
    assert near.first_error == 62 - PROMPT
    assert near.num_right in (30, 31)
    place = sequences.windows.ids.index(near.id)
    assert near.loss_nats == pytest.approx(-found.scan.log_probs_nats[place].mean(), rel=1e-6)
    assert len(found.near_misses(least=0.0)) == len(found.ids) - 8


def test_the_share_that_re_verifies_has_wilsons_interval(found: Reverification) -> None:
    assert found.share() == proportion(8, 32)
    assert "8 of 32 windows re-verify (25.0% [" in found.sentence()
    by_family = found.share_of_families([i // 4 for i in range(32)])
    assert by_family.value == 0.25
    assert by_family.n == 32


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(0.7), Sampling(1.3, 5), Sampling(0.5, 1), Sampling(1.0, 900)]
)
def test_the_probability_of_a_sample_is_the_product_of_its_tokens(
    model: LoadedModel, sequences: Sequences, sampling: Sampling
) -> None:
    windows = sequences.windows.select(range(12))
    found = sampled_log_probs(model, windows, sampling)
    network: Any = model.model
    for place, tokens in enumerate(windows.tokens.tolist()):
        with torch.no_grad():
            values = network(torch.tensor([tokens])).logits[0].double()
        log_prob = 0.0
        for position in range(PROMPT - 1, len(tokens) - 1):
            row = (values[position] / sampling.temperature).tolist()
            kept = sorted(range(len(row)), key=lambda i: -row[i])[: sampling.top_k]
            total = sum(math.exp(row[i]) for i in kept)
            target = tokens[position + 1]
            log_prob += math.log(math.exp(row[target]) / total) if target in kept else -math.inf
        assert found[place] == pytest.approx(log_prob, rel=1e-4, abs=1e-4)


def test_top_1_samples_are_greedy_decoding(
    model: LoadedModel, sequences: Sequences, found: Reverification
) -> None:
    log_probs = sampled_log_probs(model, sequences.windows, Sampling(1.0, 1))
    assert (log_probs == 0).tolist() == found.is_reproduced.tolist()
    assert set(log_probs.tolist()) == {0.0, -math.inf}


def test_samples_drawn_hit_as_often_as_computed() -> None:
    rng = np.random.default_rng(0)
    for p_one, n in ((0.3, 4), (0.02, 30), (0.9, 1)):
        hits = (rng.random((20_000, n)) < p_one).any(axis=1).mean()
        expected = float(extraction_probability(np.log([p_one]), n)[0])
        assert abs(hits - expected) < 4 * math.sqrt(expected * (1 - expected) / 20_000)


def test_the_number_of_samples_is_the_least_that_reaches_the_probability() -> None:
    for log_prob in np.log([0.999, 0.5, 0.1, 1e-3, 1e-6]):
        for p in (0.01, 0.1, 0.5, 0.9, 0.999):
            n = int(samples_needed(np.array([log_prob]), p)[0])
            reached = extraction_probability(np.array([log_prob]), n)[0]
            assert reached >= p - 1e-9
            if n > 1:
                assert extraction_probability(np.array([log_prob]), n - 1)[0] < p
    # A probability is reached by one sample of that probability, and by n of its root.
    for p in np.linspace(0.01, 0.99, 99).tolist():
        assert samples_needed(np.log([p]), p).tolist() == [1.0]
        assert samples_needed(np.log([1 - (1 - p) ** (1 / 7)]), p).tolist() == [7.0]


def test_extremes_are_what_they_should_be() -> None:
    log_probs = np.array([0.0, -1e-12, -50.0, -600.0, -2000.0, -math.inf])
    needed = samples_needed(log_probs, 0.5)
    assert needed[:2].tolist() == [1.0, 1.0]
    assert needed[2] == pytest.approx(math.log(2) * math.exp(50), rel=1e-6)
    assert needed[3] == pytest.approx(math.log(2) * math.exp(600), rel=1e-6)
    assert needed[4:].tolist() == [math.inf, math.inf]
    assert extraction_probability(log_probs, 10)[[0, 5]].tolist() == [1.0, 0.0]
    assert extraction_probability(log_probs, 10)[3] == pytest.approx(10 * math.exp(-600), rel=1e-9)


def test_the_share_of_n_p_extractible_windows_counts_those_that_need_no_more() -> None:
    log_probs = np.log([0.5, 0.2, 0.01, 1e-9])
    assert extractible_share(log_probs, num_samples=10, probability=0.8) == proportion(2, 4)


def test_what_is_no_sampling_is_refused() -> None:
    for temperature, top_k in ((0.0, None), (math.inf, None), (1.0, 0)):
        with pytest.raises(SettingsError, match="There is no sampling"):
            Sampling(temperature, top_k)
    with pytest.raises(SettingsError, match="probability of 1"):
        samples_needed(np.log([0.5]), 1.0)
    with pytest.raises(SettingsError, match="0 samples"):
        extraction_probability(np.log([0.5]), 0)


def test_stand_in_models_differ(tmp_path: Path, model: LoadedModel, standin: StandIn) -> None:
    fresh = loaded(make_model(standin.contents, steps=0), write_tokenizer(tmp_path))
    assert fresh.fingerprint != model.fingerprint
