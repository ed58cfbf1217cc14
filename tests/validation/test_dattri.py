"""The linear datamodeling score agrees with an implementation that is not ours."""

import numpy as np
import pytest
import torch
from tests.validation.banks import made_up_bank, own_of, scores_from

from whence.validation.lds import predict


def test_plain_lds_is_dattris_on_equal_inputs():
    metric = pytest.importorskip(
        "dattri.metric", reason="dattri, of the dev dependency group, is not installed"
    )
    bank, effects = made_up_bank(other_effect=0.5, noise=1.0)
    noise = np.random.default_rng(0).normal(size=effects.shape)
    # dattri takes subsets of one size: of the runs, those with the most common number of groups.
    sizes = bank.included.sum(axis=1)
    runs = np.flatnonzero(sizes == np.bincount(sizes).argmax())
    bank = made_up_bank_rows(bank, runs)
    scores = scores_from(bank, effects + noise)
    rows = {e: i for i, e in enumerate(scores.example_ids)}
    groups = list(bank.groups.values())
    indices = torch.tensor(
        [[rows[e] for g in np.flatnonzero(row) for e in sorted(groups[g])] for row in bank.included]
    )
    theirs, _ = metric.lds(
        torch.from_numpy(scores.values.T.astype(np.float64)),
        (torch.from_numpy(bank.log_probs_nats), indices),
    )
    ours = predict(scores, bank, own=own_of(bank), own_removed=False).correlations
    assert len(runs) >= 10
    np.testing.assert_allclose(ours.per_query, theirs.numpy(), atol=1e-9)


def made_up_bank_rows(bank, runs):
    from dataclasses import replace

    return replace(bank, included=bank.included[runs], log_probs_nats=bank.log_probs_nats[runs])
