"""Hidden states of examples, kept so that an ad hoc query needs no pass over the corpus."""

from pathlib import Path
from typing import TYPE_CHECKING

from whence.artifacts.stage import Stage
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray

_FILE = "states.npy"


def states_stage(
    model: LoadedModel, corpus: Corpus, *, progress: Progress = SILENT
) -> "Stage[Float[ndarray, 'examples hidden']]":
    """The mean hidden state of every example after half of the layers, which `embedding` compares.

    Args:
        model: The model that reads the examples.
        corpus: The examples.
        progress: Reports progress.

    Cost:
        One forward pass over the distinct examples.
    """
    import numpy as np

    from whence.methods.reading import middle_layer, read_examples
    from whence.settings import IndexSettings

    def make(place: Path) -> None:
        found = read_examples(model, corpus, settings=IndexSettings(), progress=progress)
        np.save(place / _FILE, found.middle_states, allow_pickle=False)

    return Stage(
        "states",
        1,
        {
            "model": model.fingerprint,
            "corpus": corpus.fingerprint,
            "layer": middle_layer(model),
        },
        make=make,
        read=lambda place: np.load(place / _FILE, allow_pickle=False),
    )


def keep_states(
    directory: Path, model: LoadedModel, corpus: Corpus, *, progress: Progress = SILENT
) -> "Float[ndarray, 'examples hidden']":
    """Reads the hidden states in a directory, and computes them first where they are not current.

    Raises:
        ArtifactError: The directory cannot be written, or holds something else.
        CorpusError: An example does not fit the model.
    """
    stage = states_stage(model, corpus, progress=progress)
    if not stage.is_current_in(directory):
        stage.make_in(directory)
    return stage.read(directory)
