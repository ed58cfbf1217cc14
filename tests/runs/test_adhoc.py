"""An ad hoc query gives what a study gives, whatever was asked before it."""

from pathlib import Path

import numpy as np
import pytest

import whence
from whence.behaviors import make_query
from whence.corpus.duplicates import find_duplicates
from whence.errors import SettingsError
from whence.evidence import collect, hits
from whence.gradients import stored_products
from whence.methods import MethodInputs, Products, score
from whence.records import Behavior, Query, Term
from whence.runs.adhoc import Answerer
from whence.runs.states import keep_states
from whence.settings import IndexSettings

PARIS = Behavior(id="q", kind="fact", prompt="the capital of france is", completion=" paris")
TOKYO = Behavior(id="q", kind="fact", prompt="the capital of japan is", completion=" tokyo")


@pytest.fixture(scope="module")
def opened(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory):
    model = whence.load_model(str(tiny_files / "model"))
    corpus = whence.load_corpus(str(tiny_files / "corpus.jsonl"), model)
    place = tmp_path_factory.mktemp("index")
    index = whence.build_index(model, corpus, place / "index", IndexSettings(projection_dim=8))
    states = keep_states(place / "states", model, index.corpus)
    return model, index, states


def nulls(model, num: int = 25) -> tuple[Query, ...]:
    rng = np.random.default_rng(0)
    ids = rng.integers(2, 40, size=(num, 6)).tolist()
    return tuple(
        Query(f"null/{i}", (Term(tuple(row), 5, 1.0),), model.tokenizer.decode(row))
        for i, row in enumerate(ids)
    )


def test_rankings_are_those_of_the_methods_themselves(opened) -> None:
    model, index, states = opened
    answerer = Answerer(model, index.corpus, index=index, states=states)
    found = answerer.answer(PARIS, methods=answerer.methods, k=5)
    assert [r.method for r in found.rankings] == [
        "gradient_cosine",
        "gradient_dot",
        "bm25",
        "embedding",
    ]
    for ranking in found.rankings[:2]:
        alone = whence.query(index, model, PARIS, method=ranking.method, k=5)
        assert ranking.hits == alone
    inputs = MethodInputs(
        queries=(
            make_query(PARIS, model.tokenizer, contrast=False, context_length=model.context_length),
        ),
        corpus=index.corpus,
        model=model,
    )
    for ranking in found.rankings[2:]:
        assert ranking.hits == hits(score(ranking.method, inputs), 0, index.corpus, 5)


def test_an_answer_does_not_depend_on_the_queries_before_it(opened) -> None:
    model, index, states = opened
    first = Answerer(model, index.corpus, index=index, states=states, nulls=nulls(model))
    fresh = first.answer(TOKYO, methods=first.methods)
    first.answer(PARIS, methods=first.methods)
    first.answer(PARIS, methods=("bm25",), only_shown=True)
    assert first.answer(TOKYO, methods=first.methods) == fresh
    warm = Answerer(model, index.corpus, index=index, states=states, nulls=nulls(model))
    warm.warm()
    assert warm.answer(TOKYO, methods=warm.methods) == fresh


def test_null_queries_calibrate_and_evidence_is_that_of_a_study(opened) -> None:
    model, index, _ = opened
    unrelated = nulls(model)
    duplicates = find_duplicates(index.corpus)
    answerer = Answerer(model, index.corpus, index=index, nulls=unrelated, duplicates=duplicates)
    found = answerer.answer(PARIS, methods=("gradient_cosine", "bm25"), k=4)
    query = make_query(PARIS, model.tokenizer, contrast=False, context_length=model.context_length)
    products = stored_products(index, model, (query, *unrelated))
    inputs = MethodInputs(
        queries=(query, *unrelated),
        corpus=index.corpus,
        model=model,
        results={Products(): products},
        nulls=frozenset(q.id for q in unrelated),
    )
    scores = [score(name, inputs) for name in ("gradient_cosine", "bm25")]
    expected = collect(scores, [PARIS], [query], unrelated, index.corpus, duplicates, k=4)
    assert found.num_null == 25
    for ranking in found.rankings:
        assert ranking.hits.proponents
        for hit in ranking.hits.proponents:
            assert ranking.ties[hit.id] == expected.tie("q", hit.id)
            mine, theirs = (
                ranking.strengths[hit.id],
                expected.strength(ranking.method, "q", hit.id),
            )
            assert theirs is not None
            assert mine.tail == theirs.tail
            assert mine.z == pytest.approx(theirs.z, rel=1e-4)


def test_what_the_model_does_not_show_is_ranked_only_on_demand(opened) -> None:
    model, index, _ = opened
    answerer = Answerer(model, index.corpus, index=index)
    wrong = PARIS.model_copy(update={"completion": " dog"})
    found = answerer.answer(wrong, methods=answerer.methods, only_shown=True)
    assert (found.verification.verdict, found.rankings) == ("not shown", ())
    assert answerer.answer(wrong, methods=answerer.methods).rankings


def test_without_an_index_gradients_are_streamed(opened) -> None:
    model, index, _ = opened
    answerer = Answerer(model, index.corpus)
    assert answerer.methods == ("bm25",)
    found = answerer.answer(PARIS, methods=("gradient_cosine",), k=3).rankings[0]
    exact = whence.attribute(model, index.corpus, [PARIS], methods=["gradient_cosine"])[0]
    assert found.hits == whence.hits(exact, 0, index.corpus, 3)


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (("tracin",), "`tracin` does not answer ad hoc queries"),
        (("embedding",), "`embedding` needs the hidden states"),
    ],
)
def test_methods_that_cannot_answer_are_refused(opened, methods, said) -> None:
    model, index, _ = opened
    with pytest.raises(SettingsError, match=said):
        Answerer(model, index.corpus, index=index).answer(PARIS, methods=methods)


def test_a_prompt_is_completed_by_first_choices(opened) -> None:
    model, index, _ = opened
    answerer = Answerer(model, index.corpus, index=index)
    # This tokenizer's decoder adds a space of its own.
    assert [t.strip() for t in answerer.complete(PARIS.prompt, num_tokens=1)] == ["paris"]
    with pytest.raises(SettingsError, match="cannot be generated at once"):
        answerer.complete("the", num_tokens=1000)


def test_states_are_kept_and_follow_the_model(opened, tmp_path: Path) -> None:
    model, index, states = opened
    place = tmp_path / "states"
    np.testing.assert_array_equal(keep_states(place, model, index.corpus), states)
    before = (place / "states.npy").stat().st_mtime_ns
    keep_states(place, model, index.corpus)
    assert (place / "states.npy").stat().st_mtime_ns == before
