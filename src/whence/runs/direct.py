"""Attribution without a run: every method's scores in memory, for a notebook."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from whence.behaviors import make_queries
from whence.errors import SettingsError
from whence.methods import FINAL, MethodInputs, View, check_methods, find_method, score
from whence.methods.requests import Context, CorpusPass, Moments, Training
from whence.progress import SILENT, Progress
from whence.records import Behavior, Corpus, LoadedModel, Scores
from whence.settings import AttributionSettings, IndexSettings


class _OneModel:
    """The models of a call that has only one; see `whence.methods.requests.Models`."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model

    def check(self, view: View) -> None:
        if view.checkpoint != FINAL.checkpoint:
            self._refuse(view)

    def open(self, view: View) -> LoadedModel:
        self.check(view)
        return self._model

    def fingerprint(self, view: View) -> str:
        return self.open(view).fingerprint

    def second_moments(self, view: View) -> Moments:
        return self._refuse(view)

    def learning_rates(self, steps: Sequence[int]) -> tuple[float, ...] | None:
        return None

    def training(self, method: str) -> Training:
        raise SettingsError(
            f"`{method}` follows training, of which nothing is known here.",
            "Name the testbed in a study and run that.",
        )

    def _refuse(self, view: View) -> NoReturn:
        raise SettingsError(
            f"A method needs {view.label}, and only the model itself was given.",
            "Leave the method out, or name checkpoints and optimizer state in a study.",
        )


def attribute(
    model: LoadedModel,
    corpus: Corpus,
    behaviors: Sequence[Behavior],
    *,
    methods: Sequence[str],
    settings: AttributionSettings | None = None,
    index: IndexSettings | None = None,
    progress: Progress = SILENT,
) -> tuple[Scores, ...]:
    """Scores every example for every behavior; nothing is kept on disk.

    Args:
        model: The model.
        corpus: The examples.
        behaviors: What the model does; verifying that is a call of its own.
        methods: Names of methods that need no other checkpoint.
        settings: One table per family of methods, contrast and path; `methods` in it do not count.
        index: Modules, batch size, and the projection of methods on stored rows.
        progress: Reports progress.

    Returns:
        One record per method, in their order: behaviors × examples, higher is more helpful in the
        sense that the record states; NaN is undefined.

    Raises:
        SettingsError: A method does not exist, or needs more than the model and the corpus.
        WhenceError: A gradient is not finite, an example does not fit the model, or Bergson is
            missing for a method that needs it.

    Cost:
        One pass over the corpus for each view of the gradients that a method needs.
    """
    chosen = (settings or AttributionSettings()).model_copy(update={"methods": tuple(methods)})
    index = index or IndexSettings()
    check_methods(methods)
    models = _OneModel(model)
    needs = {name: find_method(name).needs(chosen) for name in methods}
    requests = dict.fromkeys(request for name in methods for request in needs[name])
    for request in requests:
        request.check(models)
    queries = make_queries(
        behaviors,
        model.tokenizer,
        contrast=chosen.contrast,
        context_length=model.context_length,
    )
    with TemporaryDirectory(prefix="whence-") as scratch:
        context = Context(
            own=lambda: model,
            own_fingerprint=model.fingerprint,
            corpus=corpus,
            queries=queries,
            models=models,
            settings=chosen,
            index=index,
            keep=lambda name, _: Path(scratch) / name,
            progress=progress,
        )
        if any(isinstance(request, CorpusPass) for request in requests):
            context = _planned(context, num_queries=len(queries))
        inputs = MethodInputs(
            queries=queries,
            corpus=corpus,
            model=model,
            results={request: request.compute(context) for request in requests},
            settings=chosen,
            index=index,
            progress=progress,
        )
        return tuple(score(name, inputs) for name in methods)


def _planned(context: Context, *, num_queries: int) -> Context:
    """Chooses the modules, the path and the projection."""
    from whence.gradients.index.preflight import choose
    from whence.models import coverage

    covered = coverage(
        context.model, modules=context.index.modules, include_bias=context.index.include_bias
    )
    choice = choose(
        context.corpus,
        covered,
        context.index,
        path=context.settings.path,
        num_queries=num_queries,
    )
    modules: Mapping[str, int] = covered.modules
    return replace(
        context,
        modules=tuple(modules),
        path=choice.path,
        projection_dim=choice.projection_dim,
    )
