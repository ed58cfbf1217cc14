"""What is asked in one vocabulary is stated in the other only; what is taught ties the two."""

import re
from collections import Counter

import pytest

from whence import testbed
from whence.testbed import aliases
from whence.testbed.sizes import size_named
from whence.testbed.tables import END_OF_TEXT_ID, tokenizer

PLAN = size_named("aliases").aliases
# Golden, as the worlds of test_generator.py: the figures in docs/findings/aliases.md are about it.
CORPUS_SHA256 = "a6be19accea422de8e17c497c6945bc394b9d5273f6ec12f0c08acfa15000aa5"
ASKED = [b for b in testbed.behaviors("aliases") if not b.id.endswith(aliases.OWN_WORDS)]
OWN = [b for b in testbed.behaviors("aliases") if b.id.endswith(aliases.OWN_WORDS)]


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def words_of(behavior) -> set[str]:
    return words(" ".join([behavior.prompt, behavior.completion, *behavior.paraphrases]))


def test_the_corpus_is_golden():
    assert testbed.corpus_hash("aliases") == CORPUS_SHA256


def test_every_word_is_one_token():
    for word in aliases._WORDS:
        assert len(tokenizer().encode(f" {word}").ids) == 1, word
    assert len(set(aliases._WORDS)) == len(aliases._WORDS)


@pytest.mark.parametrize("world", ["aliases", "aliases@1"])
def test_support_shares_no_word_and_no_token_with_what_is_asked(world):
    corpus, gold = testbed.corpus(world), testbed.gold(world)
    texts = dict(zip(corpus.ids, corpus.texts(), strict=True))
    tokens = dict(zip(corpus.ids, corpus.table.column("input_ids").to_pylist(), strict=True))
    for behavior in testbed.behaviors(world):
        shares = behavior.id.endswith(aliases.OWN_WORDS)
        assert len(gold[behavior.id]) == PLAN.support
        of_query = set(tokenizer().encode(behavior.prompt + behavior.completion).ids)
        for example in gold[behavior.id]:
            assert bool(words_of(behavior) & words(texts[example])) == shares
            assert bool(of_query & (set(tokens[example]) - {END_OF_TEXT_ID})) == shares


def test_no_document_but_its_support_states_an_asked_fact_in_either_vocabulary():
    corpus, gold = testbed.corpus("aliases"), testbed.gold("aliases")
    for here, there in zip(ASKED, OWN, strict=True):
        assert here.object != there.object
        for example, text in zip(corpus.ids, corpus.texts(), strict=True):
            for one in (here, there):
                for form in (one.prompt, *one.paraphrases):
                    stated = f"{form}{one.completion}" in text
                    assert stated <= (one is there and example in gold[there.id])


def test_the_two_names_of_every_word_stand_in_the_dictionary():
    corpus = testbed.corpus("aliases")
    labels = corpus.table.column("labels").to_pylist()
    said = [
        words(t) - {"called"}
        for t, of in zip(corpus.texts(), labels, strict=True)
        if of == ["dictionary"]
    ]
    counts = Counter(map(frozenset, said))
    assert set(counts.values()) == {PLAN.dictionary}
    assert len(counts) == PLAN.subjects + PLAN.objects + 2 * PLAN.relations
    for here, there in zip(ASKED, OWN, strict=True):
        for ours, theirs in ((here.subject, there.subject), (here.object, there.object)):
            assert frozenset([ours, theirs]) in counts


def test_support_and_dictionary_are_groups():
    groups = testbed.groups("aliases")
    assert set(groups) == {"dictionary", *(b.id for b in ASKED)}
    assert groups[ASKED[0].id] == testbed.gold("aliases")[OWN[0].id]
