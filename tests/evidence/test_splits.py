"""Splits add up, are read back as they were, and know where each token stands in the text."""

import random
from pathlib import Path

import pytest

from whence.errors import ArtifactError
from whence.evidence.splits import (
    Split,
    Splits,
    TokenPart,
    layer_of,
    part_of,
    read_splits,
    save_splits,
    token_places,
)


def places(pieces: list[bytes], text: str) -> list[tuple[int, int]] | None:
    """`token_places` of tokens that are bytes, as those of a byte-level tokenizer are."""
    return token_places(
        [piece.decode("utf-8", "replace") for piece in pieces],
        text,
        decode=lambda a, b: b"".join(pieces[a:b]).decode("utf-8", "replace"),
    )


def test_the_tokens_of_any_text_cover_it_without_a_gap() -> None:
    rng = random.Random(0)
    for _ in range(300):
        text = "".join(
            rng.choice("ab \n\u00e9\u4e2d\U0001f642") for _ in range(rng.randrange(1, 12))
        )
        data, pieces = text.encode(), []
        while data:
            size = rng.randrange(1, 4)
            pieces.append(data[:size])
            data = data[size:]
        found = places(pieces, text)
        assert found is not None, (text, pieces)
        assert len(found) == len(pieces)
        assert [a for a, _ in found] == [0, *(b for _, b in found[:-1])]
        assert found[-1][1] == len(text)


def test_a_text_that_goes_on_after_the_last_token_is_covered_up_to_there() -> None:
    assert places([b"The", b" cap"], "The capital") == [(0, 3), (3, 7)]


def test_a_token_that_no_text_has_stands_for_nothing_at_its_end() -> None:
    assert places([b"a", b"<|endoftext|>"], "a") == [(0, 1), (1, 1)]


def test_blanks_that_a_tokenizer_leaves_out_belong_to_the_token_after_them() -> None:
    assert places([b"The", b"capital"], "The  capital") == [(0, 3), (3, 12)]


def test_tokens_that_do_not_spell_the_text_have_no_place() -> None:
    assert places([b"the", b" cap"], "The capital") is None


@pytest.mark.parametrize(
    ("module", "layer", "part"),
    [
        ("layers.0.attention.dense", "layer 0", "attention"),
        ("layers.11.mlp.dense_h_to_4h", "layer 11", "MLP"),
        ("model.h.3.attn.c_proj", "layer 3", "attention"),
        ("embed_out", "embed_out", "embed_out"),
    ],
)
def test_modules_are_named_by_their_layer_and_their_part(module, layer, part) -> None:
    assert (layer_of(module), part_of(module)) == (layer, part)


def split(example_id: str = "e", *, place: int | None = 0) -> Split:
    tokens = (TokenPart("a", 0.1, place, place), TokenPart("b", 0.3, place, place))
    return Split("q", example_id, tokens, {"layers.0.mlp": 0.5, "layers.1.mlp": -0.1})


def test_what_is_stored_is_read_back_to_the_last_digit(tmp_path: Path) -> None:
    kept = Splits("gradient_cosine", "1 · final", (split("e"), split("f", place=None)))
    save_splits(kept, tmp_path)
    assert read_splits(tmp_path) == kept
    assert kept.find("q", "f") == kept.splits[1]
    assert kept.find("q", "g") is None
    assert kept.layers == ("layer 0", "layer 1")


def test_shares_add_up_to_one_and_are_undefined_where_nothing_positive_is_shared() -> None:
    assert sum(split().shares([0.5, -0.1]) or ()) == pytest.approx(1)
    assert Split("q", "e", (), {"m": -1.0}).shares([-1.0]) is None
    assert Split("q", "e", (), {"m": 0.0}).shares([0.0]) is None


def test_a_damaged_table_is_one_sentence(tmp_path: Path) -> None:
    save_splits(Splits("gradient_cosine", "1 · final", (split(),)), tmp_path)
    (tmp_path / "layers.parquet").write_bytes(b"no table")
    with pytest.raises(ArtifactError, match=r"splits in .* cannot be read"):
        read_splits(tmp_path)
