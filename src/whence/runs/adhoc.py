"""Ad hoc queries: a prompt and a completion that no study names, answered from memory.

Model, corpus and index are opened once. What only the corpus determines, such as its index of
words and the scores of null queries, is computed when it is first needed and then kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from whence.errors import SettingsError
from whence.evidence import Strength, Tie
from whence.progress import SILENT, Progress
from whence.records import (
    Behavior,
    Corpus,
    Family,
    GradientProducts,
    Hits,
    LoadedModel,
    Query,
    Scores,
    Verification,
)
from whence.settings import AttributionSettings, IndexSettings, VerifySettings

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray

    from whence.corpus.duplicates import Duplicates
    from whence.evidence.ties import Relater
    from whence.gradients import Index, Parts
    from whence.methods.text import Bm25

GRADIENT_METHODS = ("gradient_cosine", "gradient_dot")
SEARCH_METHODS = ("bm25", "embedding")
# Proponents that a list of evidence walks through belong to the first clusters of copies.
_MAX_TOKENS = 64


class Ranking(NamedTuple):
    """What one method lists for an ad hoc query; `ties` and `strengths` are by example."""

    method: str
    family: Family
    higher_means: str
    hits: Hits
    ties: Mapping[str, Tie]
    strengths: Mapping[str, Strength]


class AdHocResult(NamedTuple):
    """The answer to an ad hoc query.

    `notes` are sentences that a reader has to know, such as that the completion lacks its space;
    `num_null` counts the null queries that z and tails rest on.
    """

    behavior: Behavior
    verification: Verification
    notes: tuple[str, ...]
    rankings: tuple[Ranking, ...]
    num_null: int


class Answerer:
    """Answers ad hoc queries; one at a time, since a pass changes the model's hooks.

    Args:
        model: The model.
        corpus: The examples.
        index: Their stored gradients, in one index or several that were joined; None where they
            have to be streamed.
        initial: The untrained weights that a completion is compared with.
        nulls: Unrelated queries, by which scores are calibrated.
        duplicates: The corpus's copies; without them every example is a cluster of its own.
        states: Hidden states of the examples for `embedding`; None leaves the method out.
        modules: The attributed layers where gradients are streamed; by default all that can be.
        settings: How a behavior is verified.
    """

    def __init__(
        self,
        model: LoadedModel,
        corpus: Corpus,
        *,
        index: "Index | Parts | None" = None,
        initial: LoadedModel | None = None,
        nulls: Sequence[Query] = (),
        duplicates: "Duplicates | None" = None,
        states: "Float[ndarray, 'examples hidden'] | None" = None,
        modules: Sequence[str] | None = None,
        settings: VerifySettings | None = None,
    ) -> None:
        self.model, self.corpus, self.index = model, corpus, index
        self._initial, self._duplicates, self._states = initial, duplicates, states
        self._modules = modules
        self._settings = settings or VerifySettings()
        self.nulls = tuple(nulls)
        self._null_products: GradientProducts | None = None
        self._null_values: dict[str, ndarray] = {}

    @property
    def has_texts(self) -> bool:
        """Whether texts of the examples are known, which an index of Bergson's may lack."""
        column = self.corpus.table.column("text")
        return column.null_count < len(column)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that need nothing but what is in memory."""
        searches = ["bm25"] if self.has_texts else []
        if self._states is not None:
            searches.append("embedding")
        return (*(GRADIENT_METHODS if self.index is not None else ()), *searches)

    def warm(self, *, progress: Progress = SILENT) -> None:
        """Computes what every query shares, so that the first one does not wait for it."""
        steps = [lambda: self._relater, lambda: self._bm25] if self.has_texts else []
        if self.nulls:
            steps += [lambda name=name: self._nulls_of(name) for name in self.methods]
        with progress.task("Preparing", total=len(steps), unit="steps") as task:
            for step in steps:
                step()
                task.advance()

    def verify(self, behavior: Behavior) -> Verification:
        """Measures whether the model shows the behavior.

        Raises:
            WhenceError: The behavior cannot be measured.
        """
        from whence.behaviors import verify

        (found,) = verify([behavior], self.model, settings=self._settings, initial=self._initial)
        return found

    def answer(
        self,
        behavior: Behavior,
        *,
        methods: Sequence[str],
        k: int = 10,
        contrast: bool = False,
        only_shown: bool = False,
        with_evidence: bool = True,
        progress: Progress = SILENT,
    ) -> AdHocResult:
        """Verifies a behavior, and lists what each method ties to it.

        Args:
            behavior: The prompt and the completion whose loss is attributed.
            methods: Some of `GRADIENT_METHODS` and `SEARCH_METHODS`. Without an index, gradients
                are streamed: one pass over the corpus.
            k: How many proponents, and how many opponents, at most.
            contrast: Attribute the log-odds of the completion against the first alternative.
            only_shown: Rank nothing where the model does not show the behavior.
            with_evidence: Relate every listed example to the behavior.
            progress: Reports progress.

        Raises:
            WhenceError: The behavior cannot be encoded, gives no gradient, or a method is not
                known or lacks what it needs.
        """
        from whence.behaviors import make_query
        from whence.behaviors.spacing import spacing_note
        from whence.evidence import check_count

        check_count(k)
        self._check(methods)
        query = make_query(
            behavior,
            self.model.tokenizer,
            contrast=contrast,
            context_length=self.model.context_length,
        )
        verification = self.verify(behavior)
        note = spacing_note(behavior, self.model)
        notes = () if note is None else (note,)
        if only_shown and verification.verdict == "not shown":
            return AdHocResult(behavior, verification, notes, (), 0)
        scores = self._scores(query, methods, progress=progress)
        rankings = self._rankings(
            behavior, query, scores, k=k, with_evidence=with_evidence and self.has_texts
        )
        num_null = len(self.nulls) if any(r.strengths for r in rankings) else 0
        return AdHocResult(behavior, verification, notes, rankings, num_null)

    def complete(self, prompt: str, *, num_tokens: int) -> tuple[str, ...]:
        """Continues a prompt by the model's first choices.

        Returns:
            The text of each token. A piece of a character shows as U+FFFD.

        Raises:
            BehaviorError: The prompt has no tokens, or the tokens do not fit the context.
        """
        from whence.behaviors import token_texts
        from whence.behaviors.generate import greedy_continuations
        from whence.behaviors.query import encode_pair

        if not 1 <= num_tokens <= _MAX_TOKENS:
            raise SettingsError(
                f"{num_tokens} tokens cannot be generated at once.", f"Choose 1 to {_MAX_TOKENS}."
            )
        prompt_ids = encode_pair(self.model.tokenizer, prompt, " a").prompt_ids
        (found,) = greedy_continuations(
            self.model, [prompt_ids], num_tokens=num_tokens, names=["The prompt"]
        )
        return token_texts(self.model.tokenizer, found.token_ids)

    def _check(self, methods: Sequence[str]) -> None:
        known = (*GRADIENT_METHODS, *SEARCH_METHODS)
        if unknown := [name for name in methods if name not in known]:
            raise SettingsError(
                f"`{unknown[0]}` does not answer ad hoc queries.",
                f"Choose some of {', '.join(known)}.",
            )
        if "embedding" in methods and self._states is None:
            raise SettingsError(
                "`embedding` needs the hidden states of all examples, which were not computed.",
                "Ask for them when the index is opened, or leave the method out.",
            )
        if "bm25" in methods and not self.has_texts:
            raise SettingsError(
                "`bm25` needs the texts of the examples, and the index has none.",
                "Build the index with `whence index`, which keeps them, or leave the method out.",
            )

    def _scores(
        self, query: Query, methods: Sequence[str], *, progress: Progress
    ) -> tuple[Scores, ...]:
        found = []
        products = None
        for name in dict.fromkeys(methods):
            if name in GRADIENT_METHODS:
                products = products or self._products((query,), progress=progress)
                found.append(self._gradient_scores(name, query, products))
            else:
                values = self._search(name, [query])
                found.append(self._record(name, query, values))
        return tuple(found)

    def _products(self, queries: Sequence[Query], *, progress: Progress) -> GradientProducts:
        if self.index is not None:
            from whence.gradients import stored_products

            return stored_products(self.index, self.model, queries, progress=progress)
        from whence.gradients import streamed_products
        from whence.models import coverage

        settings = IndexSettings()
        modules = self._modules
        if modules is None:
            covered = coverage(self.model, modules=settings.modules, include_bias=False)
            modules = tuple(covered.modules)
        return streamed_products(
            self.model,
            self.corpus,
            queries,
            modules=modules,
            token_batch_size=settings.token_batch_size,
            progress=progress,
        )

    def _gradient_scores(self, name: str, query: Query, products: GradientProducts) -> Scores:
        from whence.methods import MethodInputs, Products, score

        own = score(
            name,
            MethodInputs(
                queries=(query,),
                corpus=self.corpus,
                model=self.model,
                results={Products(): products},
                settings=AttributionSettings(),
            ),
        )
        # Streaming the null queries would cost as much again as the query.
        nulls = self._nulls_of(name) if self.nulls and self.index is not None else None
        return replace(own, null_values=nulls)

    def _nulls_of(self, name: str) -> "ndarray":
        """A method's scores of all examples for the null queries."""
        if name not in self._null_values:
            if name not in GRADIENT_METHODS:
                self._null_values[name] = self._search(name, self.nulls)
            else:
                from whence.methods import MethodInputs, Products, score

                if self._null_products is None:
                    self._null_products = self._products(self.nulls, progress=SILENT)
                self._null_values[name] = score(
                    name,
                    MethodInputs(
                        queries=self.nulls,
                        corpus=self.corpus,
                        model=self.model,
                        results={Products(): self._null_products},
                    ),
                ).values
        return self._null_values[name]

    def _search(self, name: str, queries: Sequence[Query]) -> "ndarray":
        """Scores all examples by a method that reads texts or hidden states."""
        import numpy as np

        if name == "bm25":
            values = np.stack([self._bm25.scores(query.text) for query in queries])
        else:
            from whence.methods.reading import cosines, read_queries

            assert self._states is not None, "`_check` has refused the method without them"
            read = read_queries(self.model, queries, settings=IndexSettings())
            values = cosines(read.middle_states, self._states).astype(np.float32)
        values[:, self._is_empty] = np.nan
        return values

    def _record(self, name: str, query: Query, values: "ndarray") -> Scores:
        from whence.methods import METHODS

        method = METHODS[name]
        return Scores(
            method=name,
            query_ids=(query.id,),
            example_ids=self.corpus.ids,
            values=values,
            family=method.family,
            higher_means=method.higher_means,
            null_values=self._nulls_of(name) if self.nulls else None,
        )

    def _rankings(
        self,
        behavior: Behavior,
        query: Query,
        scores: Sequence[Scores],
        *,
        k: int,
        with_evidence: bool,
    ) -> tuple[Ranking, ...]:
        from whence.evidence import collect, hits

        evidence = None
        if with_evidence:
            evidence = collect(
                scores,
                [behavior],
                [query],
                self.nulls,
                self.corpus,
                self._duplicates,
                k=k,
                like=self._relater,
            )
        found = []
        for one in scores:
            lists = hits(one, 0, self.corpus, k)
            ids = [hit.id for hit in (*lists.proponents, *lists.opponents)]
            ties = {i: evidence.tie(behavior.id, i) for i in ids} if evidence else {}
            strengths = (
                {i: evidence.strength(one.method, behavior.id, i) for i in ids} if evidence else {}
            )
            found.append(
                Ranking(
                    one.method,
                    one.family,
                    one.higher_means,
                    lists,
                    {i: tie for i, tie in ties.items() if tie is not None},
                    {i: s for i, s in strengths.items() if s is not None},
                )
            )
        return tuple(found)

    @cached_property
    def _bm25(self) -> "Bm25":
        from whence.methods.text import Bm25

        return Bm25(self.corpus.texts())

    @cached_property
    def _relater(self) -> "Relater":
        from whence.evidence.ties import Relater

        return Relater(self.corpus, (), ())

    @cached_property
    def _is_empty(self) -> "ndarray":
        from whence.methods import MethodInputs

        return MethodInputs(queries=(), corpus=self.corpus).is_empty
