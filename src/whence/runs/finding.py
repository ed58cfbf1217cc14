"""Searches the corpus of a run, or one that is kept for searching, for a text or token ids."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from whence.artifacts import read_manifest
from whence.corpus.duplicates import SuffixArray, suffix_array_stage
from whence.corpus.search import Finding, Pattern, Place, search_corpus
from whence.errors import ArtifactError, SettingsError
from whence.memorization.settings import MemorizationStudy
from whence.progress import SILENT, Progress
from whence.records import Corpus
from whence.runs import opening
from whence.runs.directory import Run, open_run, writing
from whence.runs.models import model_origin, study_model, tokenizer_hash
from whence.runs.record import MEMORIZATION, part, run_decisions
from whence.runs.stages import corpus_stage
from whence.settings import CorpusSettings, ModelSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CONTEXT_TOKENS = 8


@dataclass(frozen=True)
class CorpusSearch:
    """A corpus that is open for searching; see `open_search`."""

    corpus: Corpus
    array: SuffixArray
    model: ModelSettings
    tokenizer_hash: str
    cache: Path

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer that the corpus was tokenized with, loaded on first use.

        Raises:
            ModelError: It cannot be loaded.
            ArtifactError: Another one stands in its place.
        """
        found = opening.open_tokenizer(self.model, cache=self.cache)
        if tokenizer_hash(found) != self.tokenizer_hash:
            raise ArtifactError(
                f"The tokenizer of {self.model.name} is not the one that the corpus was tokenized "
                "with.",
                "Put that tokenizer back, or run the study again.",
            )
        return found

    def find(self, text: str, *, limit: int = 10, before_step: int | None = None) -> Finding:
        """Finds a text, as its tokens stand at the start of a text and after a space.

        Args:
            text: What to find. Only occurrences that begin and end where tokens do are found.
            limit: List so many occurrences at most.
            before_step: Count those in documents of earlier steps apart.

        Raises:
            SettingsError: The text is empty, or a number is out of its bounds.
            WhenceError: The tokenizer cannot be loaded.
        """
        return search_corpus(
            self.corpus, self.array, self._patterns(text), limit=limit, before_step=before_step
        )

    def find_ids(
        self, ids: Sequence[int], *, limit: int = 10, before_step: int | None = None
    ) -> Finding:
        """Finds a sequence of token ids; needs no tokenizer.

        Raises:
            SettingsError: There is no id, one is negative, or a number is out of its bounds.
        """
        if any(token < 0 for token in ids):
            raise SettingsError(f"{min(ids)} is no token id.", "Token ids count from 0.")
        patterns = [Pattern("token ids", tuple(ids))]
        return search_corpus(
            self.corpus, self.array, patterns, limit=limit, before_step=before_step
        )

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens.

        Raises:
            WhenceError: The tokenizer cannot be loaded.
        """
        text = self.tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text

    def excerpt(self, place: Place) -> tuple[str, str, str]:
        """The text before, of and after an occurrence, with eight tokens on each side.

        Raises:
            WhenceError: The tokenizer cannot be loaded.
        """
        tokens = self.array.document(place.row).tolist()
        start, end = place.offset, place.offset + place.num_tokens
        before = tokens[max(0, start - _CONTEXT_TOKENS) : start]
        after = tokens[end : end + _CONTEXT_TOKENS]
        return self.decode(before), self.decode(tokens[start:end]), self.decode(after)

    def limits(self, *, is_text: bool) -> tuple[str, ...]:
        """Says what a search cannot see, in sentences."""
        found = []
        if self.corpus.searched_fraction is not None and self.corpus.searched_fraction < 1:
            found.append(f"These documents are {self.corpus.searched_fraction:.2%} of the corpus.")
        cut = self.corpus.num_truncated_tokens
        if cut is None:
            found.append("Documents were cut to what the model reads; the rest was not searched.")
        elif cut:
            found.append(
                f"{cut:,} tokens beyond what the model reads were cut off and not searched."
            )
        if is_text:
            found.append(
                "Another spelling, or a text that begins or ends within a token, is not found."
            )
        return tuple(found)

    def _patterns(self, text: str) -> list[Pattern]:
        if not text:
            raise SettingsError("There is no text to find.", "Give at least one character.")
        forms = [("as given", text)]
        if not text[0].isspace():
            forms.append(("after a space", f" {text}"))
        found: list[Pattern] = []
        for form, written in forms:
            tokens = tuple(self.tokenizer(written, add_special_tokens=False)["input_ids"])
            if tokens and tokens not in [pattern.tokens for pattern in found]:
                found.append(Pattern(form, tokens))
        if not found:
            raise SettingsError(
                f"The tokenizer makes no token of {text[:40]!r}.", "Search for another text."
            )
        return found


def open_search(
    directory: Path,
    *,
    model: ModelSettings | None = None,
    corpus: CorpusSettings | None = None,
    progress: Progress = SILENT,
) -> CorpusSearch:
    """Opens the corpus of a finished run, or any corpus, for searching.

    Args:
        directory: A finished run, to which a sorted copy of its tokens is added where it has none.
            With `model` and `corpus` a new directory, or that of an earlier call, in which the
            corpus is kept; a study that is run there uses it.
        model: Whose tokenizer and context length apply.
        corpus: What to search.
        progress: Reports progress.

    Raises:
        ArtifactError: The directory is not a finished run, and no corpus is named; or it is broken
            or cannot be written.
        SettingsError: One of model and corpus is missing, or the run has both already.
        WhenceError: The model or the corpus cannot be read.
    """
    if model is None and corpus is None:
        return _search_of_run(directory, progress)
    if model is None or corpus is None:
        named, missing = ("corpus", "model") if model is None else ("model", "corpus")
        raise SettingsError(
            f"`--{named}` names the {named} of another search than the run's, and no `--{missing}` "
            "is named.",
            f"Name its `--{missing}` too, or leave both out to search the run's corpus.",
        )
    with writing(directory) as run:
        if _is_finished(run):
            raise SettingsError(
                f"{directory} is a finished run, and has a corpus.",
                "Name another directory, or leave `--model` and `--corpus` out to search the "
                "run's.",
            )
        own = study_model(
            run,
            "own",
            model_origin(model),
            lambda: opening.open_model(model, cache=run.cache, progress=progress),
        )
        stage = corpus_stage(corpus, own, progress=progress)
        examples = run.get(stage)
        array = run.get(suffix_array_stage(examples, stage.key, progress=progress))
        return CorpusSearch(examples, array, model, own.card.tokenizer, run.cache)


def _search_of_run(directory: Path, progress: Progress) -> CorpusSearch:
    from whence.corpus import read_corpus

    try:
        run = open_run(directory)
    except ArtifactError as error:
        raise ArtifactError(
            error.problem, "Name a finished run, or a corpus with `--model` and `--corpus`."
        ) from None
    place = part(run, "corpus")
    corpus = read_corpus(place)
    stage = suffix_array_stage(corpus, read_manifest(place).key, progress=progress)
    if run.has(stage):
        array = stage.read(run.place(stage))
    else:
        with writing(directory) as run:
            array = run.get(stage)
            run.finish()
    card = json.loads((part(run, "model/own") / "model.json").read_text(encoding="utf-8"))
    return CorpusSearch(corpus, array, _model_of(run), card["tokenizer"], run.cache)


def _model_of(run: Run) -> ModelSettings:
    """The model of a run's study, of either kind."""
    if run.find(MEMORIZATION) is None:
        return run_decisions(run).study.model
    study = MemorizationStudy.model_validate(run.manifest.inputs)
    return opening.absolute_model(study.model, run.directory)


def _is_finished(run: Run) -> bool:
    try:
        return bool(run.manifest)
    except ArtifactError:
        return False
