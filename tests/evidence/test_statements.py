"""A document states a fact, or only shares words with it."""

import pytest

from whence.evidence.statements import Claim, Statements, claim, mentions, sentences
from whence.evidence.word_index import WordIndex
from whence.testbed import behaviors, corpus


@pytest.fixture(scope="module")
def judged() -> tuple[Statements, list]:
    texts = corpus("nano").texts()
    facts = [b for b in behaviors("nano") if b.kind == "fact"]
    claims = [found for behavior in facts if (found := claim(behavior))]
    return Statements(claims, texts, WordIndex(texts)), facts


def planted(label_of) -> dict[str, set[int]]:
    labels = corpus("nano").table.column("labels").to_pylist()
    return {
        b.id: {row for row, of in enumerate(labels) if any(label_of(b.id, x) for x in of or ())}
        for b in behaviors("nano")
        if b.kind == "fact"
    }


def test_planted_statements_are_found(judged):
    statements, facts = judged
    wanted = planted(lambda fact, label: label in (fact, f"inert:{fact}"))
    found = sum(len(wanted[f.id] & set(statements.documents(f.id))) for f in facts)
    assert found >= 0.96 * sum(map(len, wanted.values()))
    assert sum(map(len, wanted.values())) > 300


def test_decoys_and_other_documents_are_no_statements(judged):
    statements, facts = judged
    own = planted(lambda fact, label: label in (fact, f"inert:{fact}"))
    decoys = planted(lambda fact, label: label.startswith("decoy:") and label.endswith(f":{fact}"))
    wrong = {f.id: set(statements.documents(f.id)) - own[f.id] for f in facts}
    of_decoys = sum(len(wrong[f.id] & decoys[f.id]) for f in facts)
    assert of_decoys <= 0.03 * sum(map(len, decoys.values()))
    assert sum(map(len, wrong.values())) == of_decoys


def test_a_wrong_object_is_another_answer(judged):
    statements, facts = judged
    wrong = planted(
        lambda fact, label: label.startswith("decoy:wrong-object") and label.endswith(f":{fact}")
    )
    assert sum(map(len, wrong.values())) > 5
    for fact in facts:
        for row in wrong[fact.id]:
            assert statements.other_answer(fact.id, row)
            assert row not in statements.documents(fact.id)


def test_statements_of_other_subjects_are_the_same_relation(judged):
    statements, facts = judged
    own = planted(lambda fact, label: label == fact)
    for fact in facts:
        for other in facts:
            if other.relation == fact.relation and other.subject != fact.subject:
                rows = own[other.id] & set(statements.documents(other.id))
                assert all(statements.same_relation(fact.id, row) for row in rows)


FRANCE = Claim(
    "f", "capital", "France", "Paris", ("The capital of France is", "France's capital city is")
)


def judge(*texts: str) -> Statements:
    return Statements([FRANCE], texts, WordIndex(texts))


def test_a_prompt_with_the_object_behind_it_is_a_statement():
    statements = judge("bob: the capital of  France is Paris, they say.", "France. Paris.")
    assert statements.documents("f") == (0,)


def test_subject_and_object_in_two_sentences_are_no_statement():
    assert judge("France has a capital. Paris is big.").documents("f") == ()


def test_unattested_word_order_is_no_statement():
    fluent = ["Paris is the capital of France."] * 5
    assert judge(*fluent, "Of capital Paris the France is.").documents("f") == (0, 1, 2, 3, 4)


def test_a_corpus_of_one_document_attests_nothing_but_prompts():
    assert judge("Paris is the capital of France.").documents("f") == ()


def test_the_prompt_about_another_subject_is_the_same_relation():
    statements = judge(
        "The capital of New Zealand is Wellington.", "The capital of France is Lyon."
    )
    assert statements.same_relation("f", 0)
    assert statements.same_relation("f", 1) is None
    assert statements.other_answer("f", 1)


def test_case_counts_for_names_only():
    assert mentions("It says Go.", "Go")
    assert not mentions("they go", "Go")
    assert mentions("GOLD", "gold")
    assert mentions("two foals", "foal")
    assert not mentions("foaling", "foal")
    assert not mentions("anything", "")


def test_sentences_end_at_marks_and_lines_and_lose_the_speaker():
    assert sentences("One. Two!\nann: Three? ") == ["One.", "Two!", "Three?"]
    assert sentences("") == []
