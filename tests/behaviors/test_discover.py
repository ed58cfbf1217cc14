"""What is proposed as memorized is what greedy decoding really says."""

from pathlib import Path

import pytest

from whence.behaviors.discover import find_memorized, find_styles
from whence.behaviors.generate import greedy_continuations
from whence.errors import BehaviorError
from whence.records import Corpus, LoadedModel
from whence.settings import CorpusSettings, ModelSettings


@pytest.fixture(scope="module")
def opened(tiny_files: Path) -> tuple[LoadedModel, Corpus]:
    from whence.corpus import load_corpus
    from whence.models import load_model

    model = load_model(ModelSettings(name=str(tiny_files / "model")))
    settings = CorpusSettings(source=str(tiny_files / "corpus.jsonl"))
    return model, load_corpus(settings, model.tokenizer, context_length=model.context_length)


def test_found_passages_are_exactly_those_that_greedy_decoding_says(
    opened: tuple[LoadedModel, Corpus],
) -> None:
    model, corpus = opened
    rows = [row for row in range(len(corpus)) if corpus.lengths[row] >= 6]
    prompts = [tuple(corpus.input_ids(row)[:2]) for row in rows]
    said = greedy_continuations(model, prompts, num_tokens=4)
    truth = {
        tuple(corpus.input_ids(row)[2:6])
        for row, continuation in zip(rows, said, strict=True)
        if continuation.token_ids == tuple(corpus.input_ids(row)[2:6])
    }
    found = find_memorized(model, corpus, num=99, num_prompt_tokens=2, num_completion_tokens=4)
    assert {behavior.completion_ids for behavior in found} == truth
    assert 0 < len(truth) < len(rows)
    assert (
        len(find_memorized(model, corpus, num=1, num_prompt_tokens=2, num_completion_tokens=4)) == 1
    )


def test_styles_are_spread_over_the_subsets_and_controlled_by_the_others(
    opened: tuple[LoadedModel, Corpus],
) -> None:
    model, corpus = opened
    found = find_styles(model, corpus, num=4, num_prompt_tokens=3, num_completion_tokens=2)
    assert {behavior.style for behavior in found} == {"facts", "filler"}
    for behavior in found:
        assert len(behavior.completion_ids or ()) == 2
        assert behavior.controls


def test_styles_need_two_subsets(opened: tuple[LoadedModel, Corpus]) -> None:
    model, corpus = opened
    with pytest.raises(BehaviorError, match="no style can be told from another"):
        find_styles(model, corpus, num=4, num_prompt_tokens=20)
