"""Words are found in every script, and plain English is split as it always was."""

import random
import re
import unicodedata

import pytest

from whence.corpus.words import search_words, words

SENTENCES = {
    "chinese": ("法国的首都是巴黎，很美。", "首都", "巴黎"),
    "japanese": ("フランスの首都はパリです。", "首都", "パリ"),
    "thai": ("เมืองหลวงของฝรั่งเศสคือปารีส", "เมืองหลวง", "ปารีส"),
    "khmer": ("រាជធានីនៃប្រទេសបារាំងគឺប៉ារីស", "រាជធានី", "ប៉ារីស"),
    "burmese": ("ပြင်သစ်နိုင်ငံ၏မြို့တော်မှာပဲရစ်", "မြို့တော်", "ပဲရစ်"),
    "hindi": ("फ़्रांस की राजधानी पेरिस है।", "राजधानी", "पेरिस"),
    "tamil": ("பிரான்சின் தலைநகரம் பாரிஸ்.", "தலைநகரம்", "பாரிஸ்"),
    "arabic": ("عَاصِمَة فرنسا هي باريس", "عَاصِمَة", "باريس"),
    "hebrew": ("בִּירַת צרפת היא פריז", "בִּירַת", "פריז"),
    "korean": ("프랑스의 수도는 파리이다", "수도는", "파리이다"),
}


@pytest.mark.parametrize("script", SENTENCES)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_phrase_is_found_in_its_sentence_in_every_script(script: str, form: str) -> None:
    sentence, *phrases = SENTENCES[script]
    held = search_words(sentence)
    marked = words(sentence).keys
    for phrase in phrases:
        composed = unicodedata.normalize(form, phrase)  # pyright: ignore[reportArgumentType]
        assert search_words(composed), script
        assert set(search_words(composed)) <= set(held), script
        assert set(words(composed).keys) <= set(marked), script


def test_ascii_is_split_as_the_pattern_alone_splits_it() -> None:
    generator = random.Random(0)
    letters = "abcXYZ019_'-. \t\n,"
    for _ in range(500):
        text = "".join(generator.choices(letters, k=40))
        assert search_words(text) == re.findall(r"\w+", text.lower())


def test_alphabets_with_composed_letters_are_split_as_the_pattern_alone_splits_them() -> None:
    text = "Zoë Müller, naïve_élan; Прага не Москва – ΑΘΗΝΑ 2024 don’t"
    assert search_words(text) == re.findall(r"\w+", text.lower())


def test_a_mark_belongs_to_its_letter() -> None:
    for text in ("naïve café", "हिन्दी", "עִבְרִית"):
        decomposed = unicodedata.normalize("NFD", text)
        assert len(search_words(decomposed)) == len(text.split())
        assert search_words(decomposed) == search_words(text)


def test_width_and_composition_do_not_matter() -> None:
    assert search_words("ｶﾞｽ ＡＢＣ") == [*search_words("ガス"), "abc"]
    assert search_words("か\u3099") == search_words("が")


def test_punctuation_of_unspaced_scripts_is_no_word() -> None:
    assert search_words("、。・「」！๏") == []
    assert words("、。・「」！๏").keys == ()


def test_pairs_do_not_reach_over_what_stands_between() -> None:
    assert search_words("首都") == ["首", "都", "首都"]
    assert search_words("首，都") == ["首", "都"]
    assert search_words("首 都") == ["首", "都"]
    assert search_words("首a都") == ["首", "a", "都"]


def test_nothing_has_no_words() -> None:
    assert search_words(None) == search_words("") == search_words(" .,") == []
