"""Row i of Pythia's map is its tokens 2049·i to 2049·(i+1), however the map is cut into shards."""

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.hub_server import LoopbackHub

from whence.corpus import load_corpus, mmap, step_of_row
from whence.errors import CorpusError
from whence.records import Corpus
from whence.settings import CorpusSettings

ROWS = np.random.default_rng(0).integers(0, 257, size=(7, 2049)).astype("<u2")
DATA = ROWS.tobytes()
ROW_BYTES = 2049 * 2
# Cut within a row, within a token, and so that one row lies in three shards.
CUTS = (0, 3 * ROW_BYTES + 1000, 5 * ROW_BYTES + 1, 5 * ROW_BYTES + 77, len(DATA))


@pytest.fixture
def load_map(tokenizer: Any) -> Callable[..., Corpus]:
    def load(source: Path | str, *, context_length: int = 2048, **settings: Any) -> Corpus:
        chosen = CorpusSettings(source=str(source), **settings)
        return load_corpus(chosen, tokenizer, context_length=context_length)

    return load


def shards() -> dict[str, bytes]:
    pieces = [DATA[a:b] for a, b in pairwise(CUTS)]
    # Pythia's last shard has the number after "of": four shards are 0 to 3 of 3.
    return {f"document-{i:05}-of-00003.bin": piece for i, piece in enumerate(pieces)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, piece in shards().items():
        (tmp_path / name).write_bytes(piece)
    return tmp_path


def check(corpus: Corpus, rows: range, tokenizer: Any) -> None:
    assert corpus.ids == tuple(str(row) for row in rows)
    assert corpus.table["position"].to_pylist() == list(rows)
    for at, row in enumerate(rows):
        assert corpus.input_ids(at) == ROWS[row].tolist()
    assert corpus.texts() == [tokenizer.decode(ROWS[row].tolist()) for row in rows]
    assert corpus.num_truncated_tokens == 0
    assert corpus.searched_fraction == len(rows) / 7


@pytest.mark.parametrize("first", range(7))
@pytest.mark.parametrize("num_rows", [1, 3, 7])
def test_any_rows_of_one_file_and_of_shards(
    folder: Path, load_map: Any, tokenizer: Any, first: int, num_rows: int
) -> None:
    if first + num_rows > 7:
        num_rows = 7 - first
    (folder / "one").mkdir()
    (folder / "one" / "whole.bin").write_bytes(DATA)
    for source in (folder / "one" / "whole.bin", folder):
        corpus = load_map(source, first_row=first, num_rows=num_rows)
        check(corpus, range(first, first + num_rows), tokenizer)
    assert corpus.description.startswith(f"rows {first} to {first + num_rows - 1} of the 7 rows of")


def test_reads_in_pieces_do_not_show(
    folder: Path, load_map: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mmap, "_ROWS_PER_READ", 2)
    check(load_map(folder), range(7), tokenizer)
    check(load_map(folder, first_row=1, max_documents=5), range(1, 6), tokenizer)


def test_a_row_has_been_seen_by_the_checkpoints_from_its_step_on() -> None:
    for row in (0, 1, 1023, 1024, 1025, 2047, 2048, 146_431_999):
        seen_by = [c for c in (0, 1, 2, 3, 142_999, 143_000) if row < 1024 * c]
        assert seen_by == [c for c in (0, 1, 2, 3, 142_999, 143_000) if step_of_row(row) <= c]
    assert step_of_row(0) == 1
    assert step_of_row(146_431_999) == 143_000


def test_all_2049_tokens_give_2048_targets(folder: Path, load_map: Any) -> None:
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=257,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=2048,
    )
    model = GPTNeoXForCausalLM(config).eval()
    ids = torch.tensor([load_map(folder, num_rows=1).input_ids(0)])
    with torch.no_grad():
        output = model(ids, labels=ids)
    losses = torch.nn.functional.cross_entropy(output.logits[0, :-1], ids[0, 1:], reduction="none")
    assert losses.shape == (2048,)
    assert torch.allclose(output.loss, losses.mean())


def test_other_contexts_cut_as_usual(folder: Path, load_map: Any) -> None:
    corpus = load_map(folder, context_length=512, num_rows=2)
    assert corpus.lengths.tolist() == [512, 512]
    assert corpus.num_truncated_tokens == 2 * (2049 - 512)
    assert load_map(folder, max_length=2048, num_rows=1).lengths.tolist() == [2048]


@pytest.mark.parametrize("settings", [{"first_row": 7}, {"first_row": 5, "num_rows": 3}])
def test_rows_outside_the_map(folder: Path, load_map: Any, settings: dict[str, int]) -> None:
    with pytest.raises(CorpusError, match="has 7 rows"):
        load_map(folder, **settings)


def test_the_first_shards_are_a_usable_beginning(
    folder: Path, load_map: Any, tokenizer: Any
) -> None:
    for name in ("document-00002-of-00003.bin", "document-00003-of-00003.bin"):
        (folder / name).unlink()
    corpus = load_map(folder)
    assert corpus.ids == tuple("01234")
    assert corpus.searched_fraction is None
    assert "of the first 5 rows" in corpus.description


def test_a_missing_shard_is_named(folder: Path, load_map: Any) -> None:
    (folder / "document-00001-of-00003.bin").unlink()
    with pytest.raises(CorpusError, match=r"Shard 1 of .* is missing"):
        load_map(folder)


def test_several_maps_in_one_folder(folder: Path, load_map: Any) -> None:
    (folder / "other.bin").write_bytes(DATA)
    with pytest.raises(CorpusError, match="not the shards of one map"):
        load_map(folder)


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 2, 100])
def test_a_map_cut_short(tmp_path: Path, load_map: Any, size: int) -> None:
    (tmp_path / "cut.bin").write_bytes((DATA + DATA)[:size])
    with pytest.raises(CorpusError, match=f"has {size} bytes"):
        load_map(tmp_path / "cut.bin")


def test_tokens_of_another_tokenizer(tmp_path: Path, load_map: Any) -> None:
    rows = ROWS.copy()
    rows[2, 5] = 50_000
    (tmp_path / "other.bin").write_bytes(rows.tobytes())
    with pytest.raises(CorpusError, match=r"document '2' .* token id 50000"):
        load_map(tmp_path / "other.bin")


def test_from_the_hub_only_the_bytes_of_the_rows_are_fetched(
    hub: LoopbackHub, load_map: Any, tokenizer: Any
) -> None:
    hub.add("datasets", "lab/map", shards() | {"document.idx": b"index", "README.md": b"about"})
    corpus = load_map("lab/map", format="mmap", first_row=3, num_rows=3)
    check(corpus, range(3, 6), tokenizer)
    sent = [(Path(a.path).name, a.range, a.bytes_sent) for a in hub.downloads()]
    # Rows 3 to 5 end the first shard, fill two and begin the last.
    begin, stop = 3 * ROW_BYTES, 6 * ROW_BYTES
    expected = []
    for index, (start, end) in enumerate(pairwise(CUTS)):
        low, high = max(begin, start), min(stop, end)
        if low < high:
            span = f"bytes={low - start}-{high - start - 1}"
            expected.append((f"document-{index:05}-of-00003.bin", span, high - low))
    assert sent == expected
    assert sum(size for *_, size in sent) == 3 * ROW_BYTES


def test_a_revision_of_a_map_on_the_hub(hub: LoopbackHub, load_map: Any, tokenizer: Any) -> None:
    hub.add("datasets", "lab/maps", {"a.bin": DATA[: 2 * ROW_BYTES]})
    hub.add("datasets", "lab/maps", {"a.bin": DATA}, revision="v2")
    check(load_map("lab/maps", format="mmap", revision="v2", num_rows=7), range(7), tokenizer)
    with pytest.raises(CorpusError, match="'lab/maps' has no revision 'v3'"):
        load_map("lab/maps", format="mmap", revision="v3", num_rows=1)


def test_a_map_on_the_hub_is_never_fetched_whole_by_accident(
    hub: LoopbackHub, load_map: Any
) -> None:
    hub.add("datasets", "lab/huge", shards())
    with pytest.raises(CorpusError, match="nothing says how many to fetch"):
        load_map("lab/huge", format="mmap")
    assert hub.downloads() == []


def test_there_is_no_map(hub: LoopbackHub, load_map: Any) -> None:
    hub.add("datasets", "lab/text", {"train.jsonl": b"{}"})
    with pytest.raises(CorpusError, match=r"There is no \.bin file in the dataset 'lab/text'"):
        load_map("lab/text", format="mmap", num_rows=1)
    with pytest.raises(CorpusError, match="There is no dataset 'lab/nothing'"):
        load_map("lab/nothing", format="mmap", num_rows=1)


def test_a_hub_that_cannot_be_reached_is_not_tried_for_half_a_minute(
    hub: LoopbackHub, load_map: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.stop()
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    with pytest.raises(CorpusError, match="cannot be reached"):
        load_map("lab/elsewhere", format="mmap", num_rows=1)
    assert not slept
