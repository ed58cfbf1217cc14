"""Which examples mean about the same as the query, to a model that reads both?"""

from importlib import import_module

import numpy as np

from whence.errors import ModelError, SettingsError
from whence.methods.contract import LIKENESS, Found, Inputs, Method, needs_model
from whence.methods.reading import cosines, middle_layer


def compute(inputs: Inputs) -> Found:
    """Takes the cosine between embeddings of the query (prompt and completion) and each example.

    By default an embedding is the mean, over a text's tokens, of the attributed model's own hidden
    state after half of its layers. With the setting `embedding_model` it is that
    sentence-transformers model's embedding of the text, as it comes. Of a contrast only the
    completion itself counts, with its prompt.

    Returns:
        Cosines in [-1, 1], without unit; higher is more alike. NaN for an empty example. With the
        model's own states all cosines are high, because all texts share a direction: only their
        order means something.

    Use it as the baseline for topical likeness, where words differ. With the model's own states it
    is a fair baseline for gradient methods, since both know the same model; for the best search by
    meaning name an embedding model.

    Cost: one forward pass over the distinct examples, shared with `document_loss` and `activation`.

    Source: as a baseline of attribution, Hanawa et al., "Evaluation of Similarity-based
        Explanations", ICLR 2021. The layer was chosen by finding the document that a passage comes
        from (mean reciprocal rank, 300 queries): stories260K, second half of a story, layers 2 of
        5 / 5 of 5: .94 / .52; a 6-layer GPT-NeoX on Pile text, layers 3 / 6: .56 / .58. Subtracting
        the corpus's mean changed these by at most .03, so nothing is subtracted.
    """
    name = inputs.settings.embedding_model
    if name is not None:
        examples, queries = _sentence_embeddings(name, inputs)
        return Found(cosines(queries, examples), {"model": name})
    assert inputs.model is not None
    queries = inputs.query_reading.middle_states
    settings = {
        "model": inputs.model.fingerprint,
        "layer": middle_layer(inputs.model),
        "pooling": "mean over tokens",
    }
    return Found(cosines(queries, inputs.reading.middle_states), settings)


def _sentence_embeddings(name: str, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    try:
        package = import_module("sentence_transformers")
    except ImportError as error:
        raise SettingsError(
            f"`embedding_model = {name!r}` needs the package sentence-transformers, which cannot "
            f"be imported ({error}).",
            "Install `whence[embeddings]`, or leave `embedding_model` out.",
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


METHOD = Method("embedding", compute, LIKENESS, needs=needs_model)
