"""Behaviors of like content are one family."""

from collections import Counter

import pytest

from whence import testbed
from whence.records import Behavior
from whence.validation.families import families


def said(name: str, prompt: str, completion: str = "", **changes) -> Behavior:
    return Behavior(
        **{
            "id": name,
            "kind": "fact",
            "prompt": prompt,
            "completion": completion or name,
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("changes", "together"),
    [
        ({"prompt": "The captain said that"}, True),
        ({"prompt": "A captain shouted loudly"}, False),
        ({"prompt": "A captain shouted loudly", "completion": "first"}, True),
        ({"prompt": "The captain said that", "kind": "stereotype"}, False),
        ({"prompt": "The captain said that", "relation": "speech"}, False),
    ],
)
def test_what_shares_most_words_or_its_completion_is_one_family(changes, together: bool):
    given = said("first", "The nurse said that"), said("second", **{"prompt": "", **changes})
    assert (len(set(families(given).values())) == 1) == together


def test_relation_and_style_decide_where_they_are_known():
    given = [
        said("a", "The capital of France is", relation="capital"),
        said("b", "The seat of Spain's government lies in", relation="capital"),
        said("c", "The capital of Japan is", relation="first letter"),
        said("d", "Hark", kind="style", style="verse"),
        said("e", "Alas, the rose", kind="style", style="verse"),
        said("f", "Alas, the rose", kind="style", style="legal"),
    ]
    assert families(given) == {"a": "a", "b": "a", "c": "c", "d": "d", "e": "d", "f": "f"}


def test_one_that_is_like_two_families_joins_them():
    given = [
        said("a", "one two three four"),
        said("b", "five six seven eight"),
        said("c", "one two three four five six seven eight"),
    ]
    assert len(set(families(given[:2]).values())) == 2
    assert families(given) == dict.fromkeys("abc", "a")


def test_token_ids_are_words_where_there_are_no_texts():
    def tokens(name: str, prompt: tuple[int, ...], completion: tuple[int, ...]) -> Behavior:
        return Behavior(id=name, kind="memorized", prompt_ids=prompt, completion_ids=completion)

    given = [tokens("a", (1, 2, 3), (9,)), tokens("b", (1, 2, 3, 4), (8,)), tokens("c", (5,), (7,))]
    assert families(given) == {"a": "a", "b": "a", "c": "c"}


def test_nano_s_behaviors_are_fifteen_families():
    found = families(testbed.behaviors("nano"))
    by_kind = Counter(name.split("/")[0] for name in set(found.values()))
    assert by_kind == {"fact": 2, "stereotype": 1, "memorized": 8, "toxic": 1, "style": 3}
