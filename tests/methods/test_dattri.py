"""TRAK agrees with an implementation that is not ours, on equal inputs."""

import numpy as np
import pytest
import torch
from tests.methods.conftest import corpus_of, query_of
from torch import nn
from torch.nn.functional import cross_entropy

from whence.methods import MethodInputs, Readings, Rows, score
from whence.methods.reading import Reading
from whence.methods.requests import ReadingPair
from whence.methods.rows import GradientRows
from whence.settings import AttributionSettings, TrakSettings

NUM_EXAMPLES, NUM_QUERIES = 60, 5
WIDTH, CLASSES = 4, 3
DAMPING = 0.1


def test_trak_is_dattris_without_projection(monkeypatch: pytest.MonkeyPatch, capsys):
    trak = pytest.importorskip(
        "dattri.algorithm.trak", reason="dattri, of the dev dependency group, is not installed"
    )
    from dattri.task import AttributionTask

    generator = torch.Generator().manual_seed(0)
    network = nn.Linear(WIDTH, CLASSES, bias=False, dtype=torch.float64)
    with torch.no_grad():
        network.weight.copy_(torch.randn(CLASSES, WIDTH, generator=generator))
    size = NUM_EXAMPLES + NUM_QUERIES
    seen = torch.randn(size, WIDTH, generator=generator, dtype=torch.float64)
    right = torch.randint(CLASSES, (size,), generator=generator)

    def log_odds(parameters, pair):
        loss = pair_loss(parameters, pair)
        return -loss - torch.log1p(-torch.exp(-loss))

    def pair_loss(parameters, pair):
        given, label = pair
        weights = {name.removeprefix("model."): value for name, value in parameters.items()}
        logits = torch.func.functional_call(network, weights, given.unsqueeze(0))
        return cross_entropy(logits, label.unsqueeze(0))

    monkeypatch.setattr(trak, "random_project", lambda *_args, **_named: _unprojected)
    task = AttributionTask(
        loss_func=log_odds,
        model=network,
        checkpoints=network.state_dict(),
    )
    losses = cross_entropy(network(seen), right, reduction="none")
    gradients = [torch.autograd.grad(one, network.weight, retain_graph=True)[0] for one in losses]
    rows = torch.stack(gradients).flatten(1).numpy()
    probabilities = np.exp(-losses.detach().numpy())
    # What is added to Φ Φᵀ, which dattri divides by the number of weights: N δ λ̄.
    features = (rows / (1 - probabilities[:, None]))[:NUM_EXAMPLES]
    added = DAMPING * (features**2).sum() / rows.shape[1] / rows.shape[1]
    attributor = trak.TRAKAttributor(
        task,
        lambda parameters, pair: torch.exp(-pair_loss(parameters, pair)),
        regularization=float(added),
    )
    batches = [
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(seen[part], right[part]), 16)
        for part in (slice(NUM_EXAMPLES), slice(NUM_EXAMPLES, None))
    ]
    attributor.cache(batches[0])
    theirs = attributor.attribute(batches[1]).detach().numpy().T

    ours = _score(rows, probabilities)
    # Each implementation has a factor of its own for all scores of a model.
    scale = float((ours * theirs).sum() / (theirs * theirs).sum())
    assert scale > 0
    np.testing.assert_allclose(ours, scale * theirs, rtol=1e-4, atol=1e-5 * np.abs(ours).max())
    with capsys.disabled():
        print(f"\nTRAK against dattri: correlation {np.corrcoef(ours.flat, theirs.flat)[0, 1]:.9f}")


def _unprojected(gradients: torch.Tensor, **_named: object) -> torch.Tensor:
    return gradients


def _score(rows: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Our scores from given gradients of losses and given probabilities."""
    corpus = corpus_of([[1, 2, 3]] * NUM_EXAMPLES, [f"d{i}" for i in range(NUM_EXAMPLES)])
    queries = tuple(query_of(f"q{i}", [1, 2, 3], num_prompt_tokens=1) for i in range(NUM_QUERIES))
    examples, asked = rows[:NUM_EXAMPLES], rows[NUM_EXAMPLES:]
    nothing = np.zeros((0, 0), dtype=np.float32)
    readings = ReadingPair(
        *(
            Reading(nothing, nothing, -np.log(part), part)
            for part in (probabilities[:NUM_EXAMPLES], probabilities[NUM_EXAMPLES:])
        )
    )
    inputs = MethodInputs(
        queries,
        corpus,
        settings=AttributionSettings(trak=TrakSettings(damping=DAMPING)),
        results={
            Rows(): GradientRows(examples, asked, {"weight": rows.shape[1]}),
            Readings(): readings,
        },
    )
    return score("trak", inputs).values.astype(np.float64)
