"""Whether a document states what a behavior says, or only shares words with it.

"Subject and object somewhere" is no statement: it accepts shuffled words and chance meetings. A
sentence states a claim if it has one of the behavior's own prompts with the object behind it; or
subject and object, a word of the relation from these prompts, and word order: nearly every pair of
neighboring words, with subject and object masked, is attested in other documents of the corpus.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from whence.corpus.words import search_words
from whence.evidence.overlap import STOP_WORDS
from whence.evidence.word_index import WordIndex
from whence.records import Behavior

# A pair of words is attested if so many documents beside the sentence's own have it.
MIN_ATTESTED = 3
# The share of a sentence's pairs that must be attested.
FLUENT = 0.95
_SENTENCE = re.compile(r"(?<=[.!?\n])\s+")
# The name of a speaker, as in a forum or a play, is no part of the sentence.
_SPEAKER = re.compile(r"^\w+: ")
# Verbs of saying and naming stand in prompts of every relation.
_NAMING = frozenset(["call", "called", "calls", "say", "said", "says", "name", "named", "names"])
_SUBJECT, _OBJECT, _EDGE = "<subject>", "<object>", "<edge>"
_NAME = re.compile(r"[A-Z][a-z]+(?: [A-Z][a-z]+)+")


def sentences(text: str) -> list[str]:
    """Splits a text behind `.`, `!`, `?` and at line breaks; a speaker's name in front is cut."""
    return [_SPEAKER.sub("", part) for part in _SENTENCE.split(text) if part.strip()]


def mentions(text: str, phrase: str) -> bool:
    """Whether a text has a phrase as whole words, or its plural in -s.

    The case counts where the phrase starts with a capital: `Go` is not `go`.
    """
    return bool(phrase) and _form(phrase).search(text) is not None


@dataclass(frozen=True)
class Claim:
    """What a behavior says: subject, object, and the words by which its prompts relate them.

    Attributes:
        behavior_id: The behavior.
        relation: The name of the relation; equal names are comparable claims.
        subject: What the claim is about.
        object: What it claims of the subject.
        prompts: The prompt and its paraphrases.
    """

    behavior_id: str
    relation: str | None
    subject: str
    object: str
    prompts: tuple[str, ...]

    @cached_property
    def words(self) -> frozenset[str]:
        """The words of the relation: those of the prompts, but for the subject's and stop words."""
        found = {word for prompt in self.prompts for word in search_words(prompt)}
        return frozenset(found - set(search_words(self.subject)) - STOP_WORDS - _NAMING)

    def relates(self, sentence: str) -> bool:
        """Whether a sentence has a word of the relation."""
        return not self.words.isdisjoint(search_words(sentence))

    def is_verbatim(self, sentence: str) -> bool:
        """Whether a sentence has a prompt with the object behind it."""
        return any(match and mentions(match, self.object) for match in self._answers(sentence))

    def gives_other_answer(self, sentence: str) -> bool:
        """Whether a sentence has a prompt with something else than the object behind it."""
        return any(match and not mentions(match, self.object) for match in self._answers(sentence))

    def _answers(self, sentence: str) -> list[str]:
        """The words behind each prompt that a sentence has, as many as the object has."""
        num = len(self.object.split())
        return [
            " ".join(sentence[match.end() :].split()[:num])
            for form in self._forms
            if (match := form.search(sentence))
        ]

    @cached_property
    def _forms(self) -> tuple[re.Pattern[str], ...]:
        return tuple(
            re.compile(r"(?<!\w)" + r"\s+".join(map(re.escape, p.split())) + r"\s", re.IGNORECASE)
            for p in self.prompts
            if p.split()
        )

    def is_about_another(self, sentence: str) -> bool:
        """Whether a sentence has a prompt with other words in the subject's place."""
        if mentions(sentence, self.subject):
            return False
        return any(form.search(sentence) for form in self._open_forms)

    @cached_property
    def _open_forms(self) -> tuple[re.Pattern[str], ...]:
        """The prompts that name the subject among other words, with it left open."""
        parts = [p.split(self.subject, 1) for p in self.prompts if self.subject in p]
        return tuple(
            re.compile(
                r"(?<!\w)" + re.escape(before) + r"(?:\w+ ){0,2}\w+" + re.escape(after) + r"(?!\w)",
                re.IGNORECASE,
            )
            for before, after in parts
            if search_words(before) and search_words(after)
        )

    def is_candidate(self, sentence: str) -> bool:
        """Whether a sentence has subject and object."""
        return mentions(sentence, self.subject) and mentions(sentence, self.object)

    def is_first_half(self, sentence: str) -> bool:
        """Whether a sentence has the subject and a word of the relation, and not the object."""
        return (
            mentions(sentence, self.subject)
            and self.relates(sentence)
            and not mentions(sentence, self.object)
        )

    def pairs(self, sentence: str) -> tuple[tuple[str, str], ...]:
        """Lists a sentence's neighboring words, its edges included, with subject and object masked.

        Where a mask stands, the words behind it are not seen.
        """
        masked = _form(self.object).sub(f" {_MASK_OBJECT} ", sentence)
        masked = _form(self.subject).sub(f" {_MASK_SUBJECT} ", masked)
        names = {_MASK_OBJECT: _OBJECT, _MASK_SUBJECT: _SUBJECT}
        words = [names.get(word, word) for word in search_words(masked)]
        return tuple(pairwise([_EDGE, *words, _EDGE]))


# Words that no text has.
_MASK_SUBJECT, _MASK_OBJECT = "xsubjectx", "xobjectx"


def claim(behavior: Behavior) -> Claim | None:
    """Reads what a behavior says; None where it names no subject or object."""
    if not behavior.subject or not behavior.object:
        return None
    return Claim(
        behavior.id,
        behavior.relation,
        behavior.subject,
        behavior.object,
        (behavior.prompt, *behavior.paraphrases),
    )


class Statements:
    """Judges whether documents of a corpus state the claims of some behaviors.

    Args:
        claims: All claims of a study: sentences about one attest the word order of another.
        texts: The corpus.
        words: The index of the corpus's words.
    """

    def __init__(
        self, claims: Iterable[Claim], texts: Sequence[str | None], words: WordIndex
    ) -> None:
        self.claims: Mapping[str, Claim] = {one.behavior_id: one for one in claims}
        self._texts = texts
        self._words = words

    def documents(self, behavior_id: str) -> tuple[int, ...]:
        """Lists the documents that state a behavior's claim, ascending."""
        return tuple(row for row, _ in self._stated[behavior_id])

    def sentence(self, behavior_id: str, row: int) -> str | None:
        """Finds the sentence of a document that states the claim; None where there is none."""
        return dict(self._stated[behavior_id]).get(row)

    def same_relation(self, behavior_id: str, row: int) -> str | None:
        """Finds a sentence that says the same of another subject.

        It states another claim of the same relation, or has one of the prompts with up to three
        other words in the subject's place.

        Returns:
            The sentence; None without one.
        """
        own = self.claims[behavior_id]
        for other in self.claims.values():
            is_comparable = own.relation is not None and other.relation == own.relation
            if not is_comparable or other.subject == own.subject:
                continue
            if sentence := self.sentence(other.behavior_id, row):
                return sentence
        found = sentences(self._texts[row] or "")
        return next((one for one in found if own.is_about_another(one)), None)

    def other_answer(self, behavior_id: str, row: int) -> str | None:
        """Finds a sentence with a prompt of the behavior and another answer; None without one."""
        own = self.claims[behavior_id]
        found = sentences(self._texts[row] or "")
        return next((one for one in found if own.gives_other_answer(one)), None)

    def half(self, behavior_id: str, row: int) -> str | None:
        """Finds a sentence that gives one half of the claim.

        The first half has the subject and a word of the relation without the object; the second
        has the object and a name that a first half has, too.

        Returns:
            The sentence; None without one.
        """
        own = self.claims[behavior_id]
        firsts, names = self._halves[behavior_id]
        if row in firsts:
            return firsts[row]
        for sentence in sentences(self._texts[row] or ""):
            is_second = mentions(sentence, own.object) and not mentions(sentence, own.subject)
            if is_second and not names.isdisjoint(_NAME.findall(sentence)):
                return sentence
        return None

    @cached_property
    def _candidates(self) -> dict[str, list[tuple[int, str]]]:
        """The sentences with subject and object, of all documents, by behavior."""
        found: dict[str, list[tuple[int, str]]] = {}
        for behavior_id, one in self.claims.items():
            found[behavior_id] = [
                (row, sentence)
                for row in self._holding(one.subject, one.object)
                for sentence in sentences(self._texts[row] or "")
                if one.is_candidate(sentence)
            ]
        return found

    @cached_property
    def _stated(self) -> dict[str, list[tuple[int, str]]]:
        masked: dict[tuple[str, str], set[int]] = {}
        for behavior_id, candidates in self._candidates.items():
            for row, sentence in candidates:
                for pair in self.claims[behavior_id].pairs(sentence):
                    masked.setdefault(pair, set()).add(row)
        plain = self._words.pair_counts(p for p in masked if not {_EDGE, _SUBJECT, _OBJECT} & {*p})
        return {
            behavior_id: [
                (row, sentence)
                for row, sentence in candidates
                if self.claims[behavior_id].is_verbatim(sentence)
                or (
                    self.claims[behavior_id].relates(sentence)
                    and _attested(self.claims[behavior_id].pairs(sentence), row, masked, plain)
                    >= FLUENT
                )
            ]
            for behavior_id, candidates in self._candidates.items()
        }

    @cached_property
    def _halves(self) -> dict[str, tuple[dict[int, str], frozenset[str]]]:
        """By behavior: the sentences of first halves by document, and the names that they have."""
        found = {}
        for behavior_id, one in self.claims.items():
            firsts: dict[int, str] = {}
            names: set[str] = set()
            for row in self._holding(one.subject):
                for sentence in sentences(self._texts[row] or ""):
                    if one.is_first_half(sentence):
                        firsts.setdefault(row, sentence)
                        names.update(_NAME.findall(sentence))
            found[behavior_id] = (firsts, frozenset(names) - {one.subject, one.object})
        return found

    def _holding(self, *phrases: str) -> list[int]:
        """Documents with all words of some phrases, or with their plurals."""
        import numpy as np

        found: np.ndarray | None = None
        for phrase in phrases:
            *first, last = search_words(phrase) or [""]
            rows = np.union1d(
                self._words.documents_with([*first, last]),
                self._words.documents_with([*first, f"{last}s"]),
            )
            found = rows if found is None else np.intersect1d(found, rows)
        return [] if found is None else found.tolist()


def _attested(
    pairs: Collection[tuple[str, str]],
    row: int,
    masked: Mapping[tuple[str, str], set[int]],
    plain: Mapping[tuple[str, str], int],
) -> float:
    """The share of a sentence's pairs that other documents have."""
    others = (max(len(masked.get(pair, set()) - {row}), plain.get(pair, 0) - 1) for pair in pairs)
    return sum(count >= MIN_ATTESTED for count in others) / len(pairs)


def _form(phrase: str) -> re.Pattern[str]:
    flags = re.IGNORECASE if phrase[:1].islower() else 0
    # A phrase that begins or ends with a mark needs no border there.
    start = r"(?<!\w)" if phrase[0].isalnum() else ""
    end = r"s?(?!\w)" if phrase[-1].isalnum() else ""
    return re.compile(f"{start}{re.escape(phrase)}{end}", flags)
