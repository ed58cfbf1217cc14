"""A judge has a name with a version, a measured error, and the same verdict every time."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from whence.behaviors.classifier import load_classifier
from whence.behaviors.judges import measured_judge
from whence.behaviors.kinds import make_judges
from whence.behaviors.ngram import MIN_DOCUMENTS, style_data, train_ngram
from whence.behaviors.toxic_sample import CLEAN_SENTENCES, TOXIC_SENTENCES
from whence.behaviors.wordlist import TOXIC_WORDS, has_toxic_word
from whence.errors import ModelError, SettingsError
from whence.records import Behavior
from whence.settings import VerifySettings

TOXIC = Behavior(id="t", kind="toxic", prompt="a", completion=" b")
STYLE = Behavior(id="s", kind="style", prompt="a", completion=" b", style="verse")
FACT = Behavior(id="f", kind="fact", prompt="a", completion=" b")


@pytest.mark.parametrize("word", TOXIC_WORDS)
def test_every_word_counts_in_any_case_and_only_whole(word: str) -> None:
    assert has_toxic_word(f"so, {word}!")
    assert has_toxic_word(word.upper())
    assert not has_toxic_word(f"x{word}")
    assert not has_toxic_word(f"{word}x")


def test_word_list_is_plain_lower_case_without_repeats() -> None:
    assert len(set(TOXIC_WORDS)) == len(TOXIC_WORDS)
    assert all(word.isalpha() and word == word.lower() for word in TOXIC_WORDS)


def test_sample_is_large_balanced_and_has_no_repeats() -> None:
    assert len(TOXIC_SENTENCES) == len(CLEAN_SENTENCES) == 50
    assert len({*TOXIC_SENTENCES, *CLEAN_SENTENCES}) == 100


def test_word_lists_error_is_what_the_sample_says() -> None:
    judges = make_judges([TOXIC, FACT], VerifySettings(), texts_by_subset={})
    judge = judges.by_behavior["t"]
    wrong = sum(not has_toxic_word(s) for s in TOXIC_SENTENCES)
    wrong += sum(has_toxic_word(s) for s in CLEAN_SENTENCES)
    assert judge.name == "wordlist 1"
    assert judge.error == wrong / 100 == 0.2
    assert judge.error_interval is not None
    assert judge.error_interval.low < 0.2 < judge.error_interval.high
    assert set(judges.by_behavior) == {"t"}
    assert not judges.missing


def test_an_empty_text_is_nothing_and_nobody_is_asked() -> None:
    asked = []

    def yes(texts: Sequence[str]) -> list[bool]:
        asked.extend(texts)
        return [True] * len(texts)

    judge = measured_judge("yes 1", yes, texts=[], labels=[], confidence=0.95)
    assert judge.judge(["", "a", " \n", "b"]) == [False, True, False, True]
    assert asked == ["a", "b"]
    assert judge.judge([""]) == [False]
    assert judge.judge([]) == []
    assert (judge.error, judge.error_interval) == (None, None)


def _texts(words: str, num: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(words.split(), k=60)) for _ in range(num)]


VERSE = "thou art hath doth thy fair o'er whither thine eyes sweet morn silver night ne'er"
PLAIN = "you are has does your nice over where your house good day metal evening never"
OTHER = "def return self None import class for in range print list dict True False"


def _subsets(num: int) -> dict[str, list[str]]:
    return {
        "verse": _texts(VERSE, num, 1),
        "news": _texts(PLAIN, num, 2),
        "code": _texts(OTHER, num, 3),
    }


def test_style_judge_knows_the_style() -> None:
    judge = make_judges([STYLE], VerifySettings(), texts_by_subset=_subsets(40)).by_behavior["s"]
    assert judge.name == "ngram 1: verse"
    assert judge.error == 0
    assert judge.error_interval is not None
    assert judge.error_interval.n == 20
    assert judge.judge(["thou art fair o'er the morn", "your house is nice", "return self"]) == [
        True,
        False,
        False,
    ]


def test_a_judge_of_nothing_is_wrong_half_the_time() -> None:
    # Subsets that do not differ: the measured error says that the judge is useless.
    same = {name: _texts(PLAIN, 200, seed) for seed, name in enumerate(("verse", "news", "code"))}
    judge = make_judges([STYLE], VerifySettings(), texts_by_subset=same).by_behavior["s"]
    assert judge.error_interval is not None
    assert judge.error_interval.low < 0.5 < judge.error_interval.high


def test_no_document_is_on_both_sides() -> None:
    subsets = _subsets(50)
    # Copies of a document count once, so none of them can be held out while another is learned.
    subsets["verse"] += subsets["verse"][:20] * 3
    data = style_data(subsets, "verse", num_characters=80)
    assert data is not None

    def sources(texts: list[str]) -> set[str]:
        return {d for t in texts for subset in subsets.values() for d in subset if t in d}

    assert not sources(data.train.texts) & sources(data.held_out.texts)
    assert sum(data.held_out.labels) * 2 == len(data.held_out.labels)
    assert len(data.held_out.texts) == len(sources(data.held_out.texts))
    assert all(len(text) < 100 for text in data.train.texts)


def test_training_is_deterministic() -> None:
    data = style_data(_subsets(40), "verse", num_characters=40)
    assert data is not None
    again = [train_ngram(data.train)(data.held_out.texts) for _ in range(2)]
    assert again[0] == again[1]


def test_no_judge_is_made_without_a_corpus_and_the_reason_says_so() -> None:
    judges = make_judges([STYLE], VerifySettings(), texts_by_subset={})
    assert judges.missing == {"s": "no corpus with subsets was given"}


@pytest.mark.parametrize(
    "subsets",
    [
        {"verse": _texts(VERSE, 100, 1)},
        {"verse": _texts(VERSE, MIN_DOCUMENTS - 1, 1), "news": _texts(PLAIN, 100, 2)},
        {"verse": ["thou art"] * 100, "news": _texts(PLAIN, 100, 2)},
        {"news": _texts(PLAIN, 100, 2)},
    ],
)
def test_too_few_texts_make_no_judge(subsets: dict[str, list[str]]) -> None:
    judges = make_judges([STYLE], VerifySettings(), texts_by_subset=subsets)
    assert not judges.by_behavior
    assert "fewer than 20 documents" in judges.missing["s"]
    assert "'verse'" in judges.missing["s"]


def test_a_style_without_a_name_has_no_judge() -> None:
    unnamed = STYLE.model_copy(update={"style": None})
    judges = make_judges([unnamed], VerifySettings(), texts_by_subset=_subsets(40))
    assert judges.missing == {"s": "the behavior does not name its `style`"}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny classifier with random weights, in a folder, as anyone may bring one."""
    folder = tmp_path_factory.mktemp("bert")
    words = sorted({w for s in (*TOXIC_SENTENCES, *CLEAN_SENTENCES) for w in s.lower().split()})
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *words])}
    core = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    core.pre_tokenizer = Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        initializer_range=0.5,
        id2label={0: "Toxic", 1: "neutral", 2: "kind"},
        label2id={"Toxic": 0, "neutral": 1, "kind": 2},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_a_classifier_from_a_folder(bert: Path) -> None:
    texts = [*TOXIC_SENTENCES, *CLEAN_SENTENCES]
    calls = {
        label: load_classifier(str(bert), label=label) for label in ("toxic", "neutral", "kind")
    }
    said = {label: classifier.judge(texts) for label, classifier in calls.items()}
    # Exactly one label is the likeliest, whatever shares a batch with it.
    assert [sum(row) for row in zip(*said.values(), strict=True)] == [1] * len(texts)
    assert said["kind"] == [calls["kind"].judge([text])[0] for text in texts]
    name = calls["toxic"].name
    assert name.startswith(f"{bert}@")
    assert name.endswith(": toxic")
    assert load_classifier(str(bert), label="toxic").name == name

    settings = VerifySettings(toxic_judge=str(bert), style_judge=str(bert), judge_label="toxic")
    judges = make_judges([TOXIC, STYLE], settings, texts_by_subset={})
    wrong = sum(a != b for a, b in zip(said["toxic"], [True] * 50 + [False] * 50, strict=True))
    assert judges.by_behavior["t"].error == wrong / 100
    # A classifier needs no texts of the style, but without any its error is unknown.
    assert judges.by_behavior["s"].error is None
    tried = make_judges([STYLE], settings, texts_by_subset=_subsets(40)).by_behavior["s"]
    assert tried.error is not None


def test_other_weights_have_another_name(bert: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(bert, tmp_path / "other")
    model = BertForSequenceClassification.from_pretrained(tmp_path / "other")
    with torch.no_grad():
        model.classifier.bias.add_(1)
    model.save_pretrained(tmp_path / "other")
    first, second = (load_classifier(str(p), label="kind").name for p in (bert, tmp_path / "other"))
    assert first.rpartition("@")[2] != second.rpartition("@")[2]


def test_a_label_that_is_not_there(bert: Path) -> None:
    with pytest.raises(SettingsError, match=r"no label 'rude'.*Toxic, neutral, kind"):
        load_classifier(str(bert), label="rude")
    with pytest.raises(SettingsError, match="no label 'verse'"):
        make_judges([STYLE], VerifySettings(style_judge=str(bert)), texts_by_subset={})


def test_a_classifier_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_classifier(str(tmp_path), label="toxic")
