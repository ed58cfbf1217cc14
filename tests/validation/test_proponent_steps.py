"""Steps on proponents, their groups and their controls: who is stepped on, for whom."""

import numpy as np
import pytest

from whence.records import Scores
from whence.validation.proponent_steps import RANDOM_EXAMPLES, step_on_proponents
from whence.validation.tail_patch import Request, StepSettings, tail_patch

SGD = StepSettings(optimizer="sgd", learning_rate=0.1)


@pytest.fixture(scope="module")
def scores(corpus, queries) -> list[Scores]:
    """One method that knows the copies and one that names nobody for the second query."""
    values = np.random.default_rng(0).uniform(0.1, 0.2, size=(2, 2, len(corpus)))
    values[0, 0, [1, 2, 0]] = 5, 4, 3
    values[0, 1, [9, 1]] = 5, 4
    values[1, 1] = 0
    values[:, :, -1] = np.nan
    ids = tuple(q.id for q in queries)
    return [
        Scores(name, ids, corpus.ids, v.astype(np.float32))
        for name, v in zip(("knows", "half"), values, strict=True)
    ]


@pytest.fixture(scope="module")
def found(model, corpus, queries, scores):
    copies = {"copies": frozenset(corpus.ids[:4])}
    return step_on_proponents(
        model,
        corpus,
        queries,
        scores,
        k=3,
        copies=copies,
        excluded={"copied": frozenset(corpus.ids[5:8])},
        steps=(SGD,),
        num_random=6,
    )


def test_each_together_and_copies_are_the_patches_that_they_say(model, corpus, queries, found):
    rows = {(r.method, r.query_id, r.group): r for r in found if r.method != RANDOM_EXAMPLES}
    requests = [Request(str(i), (i,), ("copied",)) for i in (1, 2, 0)]
    requests += [Request("all", (0, 1, 2), ("copied",)), Request("c", (0, 1, 2, 3), ("copied",))]
    patches = tail_patch(model, corpus, queries, requests, steps=(SGD,))
    changes = [p.log_prob_change_nats for p in patches]
    assert rows["knows", "copied", "each"].log_prob_change_nats == pytest.approx(
        np.mean(changes[:3])
    )
    assert rows["knows", "copied", "together"].log_prob_change_nats == pytest.approx(changes[3])
    assert rows["knows", "copied", "copies"].log_prob_change_nats == pytest.approx(changes[4])
    assert rows["knows", "copied", "copies"].num_examples == 4
    assert rows["knows", "other", "copies"].num_examples == 1


def test_who_names_nobody_has_no_figure(found):
    assert not [r for r in found if r.method == "half" and r.query_id == "other"]
    assert [r for r in found if r.method == "half" and r.query_id == "copied"]


def test_controls_are_of_every_group_and_are_nobody_named(model, corpus, queries, scores):
    seen: list[Request] = []

    def spy(model, corpus, queries, requests, **_):
        seen.extend(requests)
        return ()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("whence.validation.proponent_steps.tail_patch", spy)
        step_on_proponents(
            model,
            corpus,
            queries[:1],
            scores[:1],
            k=3,
            copies={"copies": frozenset(corpus.ids[:4])},
            excluded={"copied": frozenset(corpus.ids[5:8])},
            num_random=6,
        )
    own, controls = seen[:5], seen[5:]
    assert [r.rows for r in own] == [(1,), (2,), (0,), (1, 2, 0), (0, 1, 2, 3)]
    assert [len(r.rows) for r in controls] == [1] * 6 + [3, 3, 4]
    drawn = {row for r in controls for row in r.rows}
    assert not drawn & {0, 1, 2, 3, 5, 6, 7, 44}


def test_knowing_the_copies_beats_chance(found):
    rows = {(r.method, r.group): r for r in found if r.query_id == "copied" and r.method != "half"}
    for group in ("each", "together"):
        assert (
            rows["knows", group].log_prob_change_nats
            > rows[RANDOM_EXAMPLES, group].log_prob_change_nats
        )


def test_copies_are_examples_of_the_same_text_by_default(model, corpus, queries, scores):
    import pyarrow as pa

    hashes = ["same" if i < 3 else str(i) for i in range(len(corpus))]
    table = corpus.table.set_column(2, "hash", pa.array(hashes))
    twin = type(corpus)(name="twin", description="", table=table)
    rows = step_on_proponents(model, twin, queries[:1], scores[:1], k=1, steps=(SGD,), num_random=2)
    copies = [r.num_examples for r in rows if r.group == "copies"]
    assert copies == [3, 3]
