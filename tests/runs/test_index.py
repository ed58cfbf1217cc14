"""An index is asked exactly or approximately, and says the same of what both find."""

from pathlib import Path

import pytest

from whence.gradients.index import approximate
from whence.records import Behavior
from whence.runs.indexing import index_corpus, query_index
from whence.runs.opening import open_corpus, open_model
from whence.settings import CorpusSettings, IndexSettings, ModelSettings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.mark.parametrize("method", ["gradient_cosine", "gradient_dot"])
def test_an_approximate_answer_is_the_exact_one_and_states_its_recall(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    model = open_model(ModelSettings(name=str(tiny / "model")))
    corpus = open_corpus(CorpusSettings(source=str(tiny / "corpus.jsonl")), model)
    index = index_corpus(tmp_path / "idx", model, corpus, IndexSettings())
    assert index is not None
    paris = Behavior(id="q", kind="fact", prompt="the capital of france is", completion=" paris")
    exact = query_index(index, model, paris, method=method, k=3)
    assert exact.recall is None
    small = query_index(index, model, paris, method=method, approximate=True, k=3)
    assert small == exact, "so few examples are searched exactly"
    monkeypatch.setattr(approximate, "MIN_ROWS", 1)
    found = query_index(index, model, paris, method=method, approximate=True, k=3)
    assert found.recall is not None
    assert found.recall >= approximate.TARGET_RECALL
    for ours, theirs in ((found.proponents, exact.proponents), (found.opponents, exact.opponents)):
        assert [(hit.rank, hit.id) for hit in ours] == [(hit.rank, hit.id) for hit in theirs]
        assert [hit.score for hit in ours] == pytest.approx([h.score for h in theirs], rel=1e-4)
