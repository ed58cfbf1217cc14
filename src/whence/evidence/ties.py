"""What ties one example to one behavior: every measure, and the first relation that holds.

A tie is found in texts alone. No score takes part in it, so that it can say what a score is worth.

Source:
    Exact: 50 tokens, as in Lee et al., ACL 2022. Near: edit similarity or 5-gram Jaccard of .8, as
    in their NearDup. A query under 50 tokens has no near class: one sentence in the same form with
    another subject would be a near copy, and is a different claim.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from whence.behaviors.wordlist import has_toxic_word
from whence.corpus.words import search_words
from whence.evidence.alignment import AlignedQuery, Overlap, best_window, edit_similarity
from whence.evidence.formats import PROSE, text_format
from whence.evidence.overlap import STOP_WORDS
from whence.evidence.relations import Relation
from whence.evidence.statements import Statements, claim, mentions
from whence.evidence.templates import is_incrementing, is_repeating, is_slot, normalize, split
from whence.evidence.topics import Topics
from whence.evidence.word_index import WordIndex
from whence.records import Behavior, Corpus, Query

# Cached properties of a relater that depend on its corpus alone.
_OF_CORPUS = ("_rows", "_subsets", "_is_large")
LONG = 50
MIN_COMPLETION = 16
NEAR, WEAK, CONTAINED = 0.8, 0.5, 0.3
# A subset that holds more of the corpus than this ties nothing together.
_LARGE_SUBSET = 0.25


@dataclass(frozen=True)
class Tie:
    """How one example is tied to one behavior, by their texts.

    Attributes:
        behavior_id: The behavior.
        example_id: The example.
        relation: The first relation whose rule holds; `noise` where none does.
        detail: What was found, such as the sentence that states a fact; empty where the measures
            say it all.
        is_templated: Query and best window agree once numbers, identifiers and names are masked,
            and do not agree before. A flag beside any relation.
        longest_run: Of the query's tokens in a row.
        containment: The share of the query's distinct 5-grams that occur, in [0, 1].
        edit_similarity: Of query and best-aligned window, in [0, 1].
        jaccard: Of the 5-grams of query and window, in [0, 1].
        word_similarity: The edit similarity of words alone, of the best window of words, in [0, 1]:
            it does not see line breaks and comment markers. None for a query under 50 tokens, and
            where no three tokens in a row are shared.
        window: Tokens of the example, start and end (exclusive). None, like the two measures before
            it, where fewer than three tokens in a row are shared.
        topic_similarity: TF-IDF cosine, in [0, 1]; None where either has no word.
        topic_threshold: What a cosine has to reach to be a topic; None where it is not known.
        format: The example's format; None where it is too short to have one.
    """

    behavior_id: str
    example_id: str
    relation: Relation
    detail: str
    is_templated: bool
    longest_run: int
    containment: float
    edit_similarity: float | None
    jaccard: float | None
    word_similarity: float | None
    window: tuple[int, int] | None
    topic_similarity: float | None
    topic_threshold: float | None
    format: str | None


@dataclass(frozen=True)
class Subject:
    """A behavior with the tokens of its query, and what is known of its text.

    Attributes:
        behavior: The behavior.
        query: Its query; of a contrast, the completion's own term counts.
        subset: The subset that its text comes from; None where that is not known.
    """

    behavior: Behavior
    query: Query
    subset: str | None

    @cached_property
    def aligned(self) -> AlignedQuery:
        """The tokens of prompt and completion."""
        term = self.query.terms[0]
        n = term.num_prompt_tokens
        return AlignedQuery(term.input_ids[:n], term.input_ids[n:])

    @property
    def is_long(self) -> bool:
        """Whether near copies of it are a class."""
        return len(self.aligned.ids) >= LONG

    @cached_property
    def folded(self) -> str:
        """The text in a form that is equal whatever its case."""
        return self.query.text.strip().casefold()

    @cached_property
    def plain_words(self) -> list[str]:
        """The words of the text, as a search sees them."""
        return search_words(self.query.text)

    @cached_property
    def words(self) -> list[str]:
        """The words of the text, with numbers, identifiers and names taken out."""
        return normalize(self.query.text)

    @cached_property
    def format(self) -> str | None:
        """The format of the text."""
        return text_format(self.query.text)

    @property
    def pattern(self) -> str | None:
        """What makes the query predictable without any copy: it counts, or repeats itself."""
        if is_repeating(self.aligned.ids):
            return "repeating"
        return "incrementing" if is_incrementing(self.query.text) else None


class Relater:
    """Relates examples of a corpus to the behaviors of a study.

    Args:
        corpus: The examples.
        behaviors: The behaviors.
        queries: Their queries, in the same order.
        seed: Of the random pairs from which the threshold of a topic is learned.
        like: A relater of the same corpus, whose index of words and thresholds are used again.
    """

    def __init__(
        self,
        corpus: Corpus,
        behaviors: Sequence[Behavior],
        queries: Sequence[Query],
        *,
        seed: int = 0,
        like: "Relater | None" = None,
    ) -> None:
        assert like is None or like._corpus is corpus, "they relate the same examples"
        self._corpus = corpus
        self._texts = like._texts if like else corpus.texts()
        self._words = like._words if like else WordIndex(self._texts)
        self._formats: dict[int, str | None] = like._formats if like else {}
        self._toxic: dict[int, bool] = like._toxic if like else {}
        claims = [found for behavior in behaviors if (found := claim(behavior)) is not None]
        self.statements = Statements(claims, self._texts, self._words)
        if like is not None:
            self.__dict__ |= {name: getattr(like, name) for name in _OF_CORPUS}
        self._topics = (
            like._topics if like else Topics(self._words, self._texts, self._subsets, seed=seed)
        )
        self.subjects: Mapping[str, Subject] = {
            behavior.id: Subject(behavior, query, self._subset_of(behavior))
            for behavior, query in zip(behaviors, queries, strict=True)
        }

    def ties(self, behavior_id: str, rows: Sequence[int]) -> tuple[Tie, ...]:
        """Relates some examples to one behavior.

        Args:
            behavior_id: The behavior.
            rows: Rows of the corpus.

        Returns:
            One tie per row, in their order.

        Cost:
            About half a millisecond per example of 250 tokens.
        """
        import numpy as np

        subject = self.subjects[behavior_id]
        places = np.asarray(rows, dtype=np.int64)
        similarity = self._words.similarity(subject.query.text, places)
        return tuple(
            self._tie(subject, row, float(cosine))
            for row, cosine in zip(rows, similarity.tolist(), strict=True)
        )

    def _tie(self, subject: Subject, row: int, cosine: float) -> Tie:
        overlap = subject.aligned.overlap(self._corpus.input_ids(row))
        text = self._texts[row] or ""
        is_compared = subject.is_long and overlap.window is not None
        is_templated = is_compared and _is_templated(subject, text, overlap)
        word_similarity = None
        if is_compared:
            word_similarity = best_similarity(subject.plain_words, search_words(text))
        threshold = self._topics.threshold(subject.query.text, row)
        example_id, found = self._corpus.ids[row], self._format(row)
        relation, detail = self._relation(
            subject,
            row,
            overlap,
            found,
            word_similarity=word_similarity or 0.0,
            is_templated=is_templated,
            is_topical=cosine >= threshold,
        )
        return Tie(
            behavior_id=subject.behavior.id,
            example_id=example_id,
            relation=relation,
            detail=detail,
            is_templated=is_templated,
            longest_run=overlap.longest_run,
            containment=overlap.containment,
            edit_similarity=overlap.edit_similarity,
            jaccard=overlap.jaccard,
            word_similarity=word_similarity,
            window=overlap.window,
            topic_similarity=_known(cosine),
            topic_threshold=_known(threshold),
            format=found,
        )

    def _relation(
        self,
        subject: Subject,
        row: int,
        overlap: Overlap,
        example_format: str | None,
        *,
        word_similarity: float,
        is_templated: bool,
        is_topical: bool,
    ) -> tuple[Relation, str]:
        if subject.behavior.example == self._corpus.ids[row]:
            return "self", ""
        text = self._texts[row] or ""
        if not subject.is_long and mentions(text.casefold(), subject.folded):
            # Within a text, the first token may be another one than at its start,
            # and its case that of a sentence's start.
            return "exact", ""
        if copied := copy_relation(subject.aligned, overlap, word_similarity=word_similarity):
            return copied, ""
        if is_templated:
            return "templated", ""
        if claimed := self._claimed(subject, row):
            return claimed
        if is_topical:
            return "topical", ""
        if self._has_style(subject, row):
            return "same-style", ""
        if example_format == subject.format and example_format not in (None, PROSE):
            return "same-format", str(example_format)
        subset = self._subsets[row]
        if subset is not None and subset == subject.subset and not self._is_large[subset]:
            return "same-subset", subset
        return "noise", ""

    def _claimed(self, subject: Subject, row: int) -> tuple[Relation, str] | None:
        """The relation of what an example says to what the behavior says; None without one."""
        behavior = subject.behavior
        text = self._texts[row] or ""
        if behavior.id in self.statements.claims:
            if sentence := self.statements.sentence(behavior.id, row):
                return "states", sentence
            if sentence := self.statements.other_answer(behavior.id, row):
                return "other-answer", sentence
            if other := self.statements.same_relation(behavior.id, row):
                return "same-relation", other
            if sentence := self.statements.half(behavior.id, row):
                return "half", sentence
        if subject.is_long:
            return None
        for phrase in (behavior.subject, behavior.object, behavior.completion.strip()):
            if phrase and phrase.lower() not in STOP_WORDS and mentions(text, phrase):
                return "shares", phrase
        return None

    def in_style(self, behavior_id: str) -> list[bool]:
        """Whether each example of the corpus is in a behavior's style, or toxic as it is."""
        subject = self.subjects[behavior_id]
        return [self._has_style(subject, row) for row in range(len(self._texts))]

    def _has_style(self, subject: Subject, row: int) -> bool:
        if subject.behavior.kind == "style":
            return subject.behavior.style is not None and (
                self._subsets[row] == subject.behavior.style
            )
        if subject.behavior.kind == "toxic":
            return self._is_toxic(row)
        return False

    def _is_toxic(self, row: int) -> bool:
        if row not in self._toxic:
            self._toxic[row] = has_toxic_word(self._texts[row] or "")
        return self._toxic[row]

    def _format(self, row: int) -> str | None:
        if row not in self._formats:
            self._formats[row] = text_format(self._texts[row])
        return self._formats[row]

    def _subset_of(self, behavior: Behavior) -> str | None:
        if behavior.example is not None and behavior.example in self._rows:
            return self._subsets[self._rows[behavior.example]]
        return behavior.style

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {example_id: row for row, example_id in enumerate(self._corpus.ids)}

    @cached_property
    def _subsets(self) -> list[str | None]:
        return self._corpus.table.column("subset").to_pylist()

    @cached_property
    def _is_large(self) -> dict[str, bool]:
        from collections import Counter

        counts = Counter(self._subsets)
        limit = _LARGE_SUBSET * len(self._subsets)
        return {name: n > limit for name, n in counts.items() if name is not None}


def copy_relation(
    query: AlignedQuery, overlap: Overlap, *, word_similarity: float
) -> Literal["exact", "continuation", "near", "weak-near"] | None:
    """Decides by tokens whether an example copies a query, and how closely.

    Args:
        query: The query. One under 50 tokens has exact copies only.
        overlap: What query and example have in common.
        word_similarity: The edit similarity of words alone, see `Tie`; 0 where it is not known.

    Returns:
        The relation; None where the example is no copy.
    """
    if overlap.longest_run >= LONG or overlap.has_query:
        return "exact"
    if len(query.ids) < LONG:
        return None
    if overlap.has_completion and len(query.completion_ids) >= MIN_COMPLETION:
        return "continuation"
    similarity = max(overlap.edit_similarity or 0.0, word_similarity)
    if similarity >= NEAR or (overlap.jaccard or 0.0) >= NEAR:
        return "near"
    if overlap.containment >= CONTAINED or similarity >= WEAK:
        return "weak-near"
    return None


def _is_templated(subject: Subject, text: str, overlap: Overlap) -> bool:
    """Whether query and example agree once numbers, identifiers and names are masked.

    That must be where they differ: masking these removes at least half of the difference.
    """
    if overlap.has_query:
        return False
    if not any(is_slot(word) for word in subject.words):
        return False
    same = best_similarity(subject.words, normalize(text))
    if same < NEAR:
        return False
    return 1 - same <= (1 - best_similarity(split(subject.query.text), split(text))) / 2


def best_similarity(query: Sequence[str], example: Sequence[str]) -> float:
    """The edit similarity of two lists of words, of the example's best window; 0 without words."""
    if not query or not example:
        return 0.0
    numbers = {word: number for number, word in enumerate(dict.fromkeys((*query, *example)))}
    ids = [numbers[word] for word in example]
    wanted = [numbers[word] for word in query]
    start, end = best_window(wanted, ids)
    return edit_similarity(wanted, ids[start:end])


def _known(value: float) -> float | None:
    """NaN as None."""
    return None if value != value else value
