"""Names are told from paths, and the host's logging comes back as it was."""

import logging
import sys

import pytest

from whence.errors import CorpusError
from whence.remote import explain, is_repository_id, quiet


@pytest.mark.parametrize("name", ["gpt2", "EleutherAI/pythia-14m", "lab/a.b_c-1"])
def test_a_repository_id(name: str) -> None:
    assert is_repository_id(name)


@pytest.mark.parametrize(
    "name", ["", "a/b/c", "/a", "./a", "../a", "a/..", "a b", "~/a", "a/", "testbed:mini", "a--b"]
)
def test_not_a_repository_id(name: str) -> None:
    assert not is_repository_id(name)


def test_quiet_restores_levels_and_bars_even_after_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from huggingface_hub import utils as hub
    from transformers.utils import logging as bars

    # As for a user who has not set the environment variable that the other tests set.
    module = sys.modules["huggingface_hub.utils.tqdm"]
    monkeypatch.setattr(module, "HF_HUB_DISABLE_PROGRESS_BARS", None)
    logger = logging.getLogger("transformers")
    before = logger.level
    logger.setLevel(logging.INFO)
    bars.enable_progress_bar()
    try:
        with pytest.raises(ZeroDivisionError), quiet():
            assert logger.level == logging.ERROR
            assert not bars.is_progress_bar_enabled()
            assert hub.are_progress_bars_disabled()
            raise ZeroDivisionError
        assert logger.level == logging.INFO
        assert bars.is_progress_bar_enabled()
        with quiet(), quiet():
            pass
        assert bars.is_progress_bar_enabled()
        bars.disable_progress_bar()
        with quiet():
            pass
        assert not bars.is_progress_bar_enabled()
    finally:
        logger.setLevel(before)
        bars.enable_progress_bar()


def test_an_unknown_error_is_one_short_sentence() -> None:
    error = ValueError("the first line.\nsecond line\n" + "x" * 10_000)
    found = explain(error, what="dataset", name="a/b", revision="v1", as_error=CorpusError)
    assert found.problem == ("The dataset 'a/b' at revision 'v1' cannot be read (the first line).")
    endless = explain(
        ValueError("y" * 10_000), what="model", name="n", revision=None, as_error=CorpusError
    )
    assert len(endless.problem) < 400


def test_a_loop_of_causes_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first
    found = explain(first, what="model", name="n", revision=None, as_error=CorpusError)
    assert "first" in found.problem
