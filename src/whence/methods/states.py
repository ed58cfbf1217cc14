"""Cosines of hidden states or text embeddings: likeness as a model that reads both texts sees it.

`embedding` averages the middle layer over all tokens, prompt included, and compares what texts are
about. `activation` averages the input of the output layer over the predicting positions: of a
query those of its completion, given the prompt, of an example all of its tokens but the first. The
output layer's gradient is the sum over positions of the prediction's error times this state, so
`activation` is that gradient with the errors left out. Of a contrast only the completion itself
counts, with its prompt. All such cosines are high, because all texts share a direction: only their
order means something.
"""

from importlib import import_module

import numpy as np

from whence.errors import ModelError, SettingsError
from whence.methods.contract import Method, MethodInputs, MethodResult
from whence.methods.reading import cosines, middle_layer
from whence.methods.requests import Readings, Request
from whence.settings import AttributionSettings, EmbeddingSettings, NoSettings


def _needs_states(settings: AttributionSettings) -> tuple[Request[object], ...]:
    return () if settings.embedding.model else (Readings(),)


def _embedding(inputs: MethodInputs, own: EmbeddingSettings) -> MethodResult:
    name = own.model
    if name is not None:
        examples, queries = _sentence_embeddings(name, inputs)
        return MethodResult(cosines(queries, examples), {"model": name})
    assert inputs.model is not None
    settings = {
        "model": inputs.model.fingerprint,
        "layer": middle_layer(inputs.model),
        "pooling": "mean over tokens",
    }
    read = inputs.result(Readings())
    return MethodResult(cosines(read.queries.middle_states, read.examples.middle_states), settings)


def _sentence_embeddings(name: str, inputs: MethodInputs) -> tuple[np.ndarray, np.ndarray]:
    try:
        package = import_module("sentence_transformers")
    except ImportError as error:
        raise SettingsError(
            f"`embedding.model = {name!r}` needs the package sentence-transformers, which cannot "
            f"be imported ({error}).",
            "Install `whence[embeddings]`, or leave `embedding.model` out.",
        ) from error
    try:
        encoder = package.SentenceTransformer(name)
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ModelError(
            f"The embedding model {name!r} cannot be loaded ({reason}).",
            "Check the name, or give the folder of a sentence-transformers model.",
        ) from error
    texts = [text or "" for text in inputs.corpus.texts()]
    return (
        np.asarray(encoder.encode(texts, show_progress_bar=False), dtype=np.float32),
        np.asarray(
            encoder.encode([query.text for query in inputs.queries], show_progress_bar=False),
            dtype=np.float32,
        ),
    )


def _activation(inputs: MethodInputs, own: NoSettings) -> MethodResult:
    assert inputs.model is not None
    settings = {
        "model": inputs.model.fingerprint,
        "layer": "input of the output layer",
        "pooling": "mean over predicting positions",
    }
    read = inputs.result(Readings())
    return MethodResult(cosines(read.queries.last_states, read.examples.last_states), settings)


METHODS = (
    Method(
        name="embedding",
        compute=_embedding,
        needs=_needs_states,
        settings=EmbeddingSettings,
        family="states",
        about="Is similar to the query in an embedding. It says nothing about what training did.",
        reads="hidden states of the middle layer over all tokens, or a sentence-transformers model",
        formula="the cosine of mean hidden states after half of the layers",
        returns="Cosines in [-1, 1], without unit; NaN for an empty example.",
        higher_means="an embedding of the example is more like the query's; it says nothing about "
        "training",
        cost="one forward pass over the distinct examples, shared with activation and "
        "document_loss",
        source='As a baseline of attribution, Hanawa et al., "Evaluation of Similarity-based '
        'Explanations", ICLR 2021. The layer was chosen by finding the document that a passage '
        "comes from (mean reciprocal rank, 300 queries): stories260K, second half of a story, "
        "layers 2 of 5 / 5 of 5: .94 / .52; a 6-layer GPT-NeoX on Pile text, layers 3 / 6: .56 / "
        ".58. Subtracting the corpus's mean changed these by at most .03, so nothing is "
        "subtracted.",
        avoid="As evidence of influence. With the model's own states it is a fair baseline for "
        "gradient methods, since both know the same model; for the best search by meaning name an "
        "embedding model.",
    ),
    Method(
        name="activation",
        compute=_activation,
        needs=lambda settings: (Readings(),),
        settings=NoSettings,
        family="states",
        about="Puts the model's last layer in a state like that in which it says the completion. "
        "It says nothing about what training did.",
        reads="hidden states that the output layer reads where it predicts",
        formula="the cosine of mean last hidden states, after the final norm",
        returns="Cosines in [-1, 1], without unit; NaN for an example of fewer than two tokens, "
        "and for every example where the query predicts nothing.",
        higher_means="the output layer reads more similar hidden states in the example and in the "
        "query; it says nothing about training",
        cost="one forward pass over the distinct examples, shared with embedding and document_loss",
        source="The last layer's similarity of Hanawa et al., \"Evaluation of Similarity-based "
        'Explanations", ICLR 2021; the factorization is that of Yeh et al., "Representer Point '
        'Selection", NeurIPS 2018. Here with means over the predicting positions.',
        avoid="For topics: it is a weak search, and embedding is better. Its use is as the "
        "cheapest method that sees the model: what a gradient method finds beyond it comes from "
        "the errors and the layers below.",
    ),
)
