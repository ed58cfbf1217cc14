"""The public test data is read as its README says it was made."""

import gzip
import json
from pathlib import Path

from whence.corpus import load_corpus
from whence.settings import CorpusSettings


def test_pile_mini_is_what_its_model_was_trained_on(data: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(data / "pile-mini/checkpoints/step2530")
    source = data / "pile-mini/train.jsonl.gz"
    settings = CorpusSettings(source=str(source), append_eos=True, max_documents=600)
    corpus = load_corpus(settings, tokenizer, context_length=256)
    with gzip.open(source) as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(600), strict=False)]
    assert corpus.lengths.tolist() == [row["num_tokens"] for row in rows]
    assert corpus.ids == tuple(str(row["id"]) for row in rows)
    assert corpus.table["step"].to_pylist() == [i // 8 + 1 for i in range(600)]
    assert corpus.table["subset"].to_pylist() == [row["subset"] for row in rows]


def test_pile_documents_name_their_subset(data: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(data / "pythia-tokenizer")
    source = str(data / "pile-documents.jsonl.gz")
    cut = load_corpus(
        CorpusSettings(source=source, max_documents=60), tokenizer, context_length=512
    )
    windows = load_corpus(
        CorpusSettings(source=source, max_documents=60, long_documents="window"),
        tokenizer,
        context_length=512,
    )
    assert len(set(cut.table["subset"].to_pylist())) > 5
    assert cut.lengths.sum() + cut.num_truncated_tokens == (
        windows.lengths.sum() + windows.num_truncated_tokens
    )
    assert windows.num_truncated_tokens < 20
    for row in range(0, len(windows), 50):
        text = tokenizer.decode(windows.input_ids(row))
        assert text == windows.texts()[row] or "�" in text


def test_stories_begin_as_llama_does(data: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(data / "stories260k")
    settings = CorpusSettings(source=str(data / "stories260k/tinystories.jsonl"), max_documents=50)
    corpus = load_corpus(settings, tokenizer, context_length=512)
    assert {corpus.input_ids(row)[0] for row in range(50)} == {tokenizer.bos_token_id}
