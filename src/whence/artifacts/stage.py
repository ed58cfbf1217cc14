"""One kept step of a run: what determines it, how it is made, how it is read back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from whence.artifacts import building, fingerprint, is_current

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Stage(Generic[T_co]):
    """A function from inputs to a frozen record, kept in a directory of its own.

    Attributes:
        name: What it is called in a run; may have a slash, as in `scores/bm25`.
        version: Raised when equal inputs shall give other numbers; then it is made again, with
            everything that depends on it.
        inputs: Exactly what determines the result, JSON-able; of another stage that it reads, that
            stage's `key`.
        make: Fills a directory. It may resume: what it leaves in `progress_directory` stays there
            after a kill.
        read: Gives the record back.
    """

    name: str
    version: int
    inputs: Mapping[str, object]
    make: Callable[[Path], None]
    read: Callable[[Path], T_co]

    @property
    def kind(self) -> str:
        """What is kept, in the manifest: the name without what stands behind a slash."""
        return self.name.partition("/")[0]

    @property
    def all_inputs(self) -> dict[str, object]:
        """The inputs with the stage's version, as they stand in its manifest."""
        return {"stage_version": self.version, **self.inputs}

    @property
    def key(self) -> str:
        """A hash of everything that determines the result."""
        return fingerprint(self.kind, self.all_inputs)

    def is_current_in(self, directory: Path) -> bool:
        """Whether a directory holds the result, whole and undamaged."""
        return is_current(directory, kind=self.kind, inputs=self.all_inputs)

    def make_in(self, directory: Path, *, is_owned: bool = False) -> None:
        """Makes the result; the directory has its name only when it is whole.

        Args:
            directory: The place.
            is_owned: Replace whatever is there, because the place is within a run's directory.

        Raises:
            ArtifactError: The directory cannot be written, or holds something else.
        """
        with building(
            directory, kind=self.kind, inputs=self.all_inputs, resume=True, is_owned=is_owned
        ) as partial:
            self.make(partial)
