"""The directory of a run: which stages it keeps, and where.

```
RUN/
├── manifest.json   settings, the stages that answer them, versions, seconds; written last
├── study.toml      the study, with its paths resolved
├── index.html      the page
├── cache/          downloads and testbeds, shared by studies in this directory
└── stages/         one directory per stage, NAME-KEY: made once, never changed
```

A stage's directory is named by its key, so that another study in the same directory disturbs
nothing: the new manifest, renamed into place, is the moment at which the run changes. Older forms
of the stages that it names are removed after that.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from whence.artifacts import (
    FORMAT,
    MANIFEST,
    check_place,
    clear_disk_errors,
    damage,
    exclusive,
    fingerprint,
    read_manifest,
    read_manifest_json,
    versions,
    write_json,
)
from whence.artifacts.manifest import damaged
from whence.artifacts.manifest import field as manifest_field
from whence.artifacts.stage import Stage
from whence.errors import ArtifactError

T = TypeVar("T")
KIND = "run"
STAGES = "stages"
CACHE = "cache"
# Marks a directory in which no run was finished yet.
UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class RunManifest:
    """What a finished run states of itself.

    Attributes:
        key: The fingerprint of inputs and hashes.
        inputs: What was asked, as JSON values.
        hashes: Fingerprints of what the inputs name.
        stages: The directory of each stage that answers it, by the stage's name.
        seconds: How long stages took when they were made, by kind.
        versions: Of the packages that numbers depend on.
        finished: When the run was finished, in ISO 8601.
    """

    key: str
    inputs: Mapping[str, object]
    hashes: Mapping[str, str]
    stages: Mapping[str, str]
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    finished: str

    def to_json(self) -> dict[str, object]:
        """Turns the record into what stands in the manifest's file, in its order."""
        values = {"format": FORMAT, "kind": KIND} | {
            field.name: getattr(self, field.name) for field in fields(self)
        }
        return dict(sorted(values.items()))


def read_run_manifest(directory: Path) -> RunManifest:
    """Reads the manifest of a finished run.

    Raises:
        ArtifactError: The directory is not a finished run, or its manifest is broken.
    """
    if (directory / UNFINISHED).is_file() and not (directory / MANIFEST).exists():
        raise ArtifactError(
            f"The run in {directory} is not finished.", "Run the study again; it resumes."
        )
    found = read_manifest_json(directory)
    if (kind := found.get("kind")) != KIND:
        raise ArtifactError(
            f"{directory} is no run; its manifest is of the kind {kind!r}.", "Check the path."
        )
    if not isinstance(found.get("stages"), dict):
        raise ArtifactError(f"{directory} holds no run of this version.", "Run the study again.")
    try:
        return RunManifest(
            key=manifest_field(found, "key", str),
            inputs=manifest_field(found, "inputs", dict),
            hashes=manifest_field(found, "hashes", dict),
            stages=manifest_field(found, "stages", dict),
            seconds=manifest_field(found, "seconds", dict),
            versions=manifest_field(found, "versions", dict),
            finished=manifest_field(found, "finished", str),
        )
    except (KeyError, ValueError) as error:
        raise damaged(directory, error) from None


class Run:
    """A run's directory and the stages requested so far; see `open_run` and `writing`."""

    def __init__(self, directory: Path, manifest: RunManifest | None) -> None:
        self.directory = directory
        self._manifest = manifest
        self._used: dict[str, Path] = {}
        self._keys: set[str] = set()
        # Names of stages that `finish` left out because they are damaged.
        self.dropped: list[str] = []

    @property
    def cache(self) -> Path:
        """The place of downloads and testbeds; not part of the result."""
        return self.directory / CACHE

    @property
    def is_finished(self) -> bool:
        """Whether a run was finished here."""
        return self._manifest is not None

    @property
    def manifest(self) -> RunManifest:
        """The manifest of the finished run.

        Raises:
            ArtifactError: No run was finished here.
        """
        if self._manifest is None:
            raise ArtifactError(
                f"{self.directory} holds no finished run.", "Run the study again; it resumes."
            )
        return self._manifest

    def get(self, stage: Stage[T]) -> T:
        """Reads a stage back, and makes it first unless it is there, whole and current.

        Raises:
            WhenceError: It cannot be made.
        """
        place = self.place(stage)
        if not stage.is_current_in(place):
            stage.make_in(place, is_owned=True)
        self._used[stage.name] = place
        self._keys.add(stage.key)
        return stage.read(place)

    def has(self, stage: Stage[object]) -> bool:
        """Whether a stage is there, whole and current."""
        return stage.is_current_in(self.place(stage))

    def retain(self, stage: Stage[object]) -> None:
        """Keeps a stage that is there, without reading it."""
        if self.has(stage):
            self._used[stage.name] = self.place(stage)
            self._keys.add(stage.key)

    def claim(self, name: str, inputs: Mapping[str, object]) -> Path:
        """Gives a place to an artifact that keeps itself, such as an index, by its inputs."""
        place = self._place(name, fingerprint(name, dict(inputs)))
        self._used[name] = place
        return place

    def place(self, stage: Stage[object]) -> Path:
        """The directory of a stage, made or not."""
        return self._place(stage.name, stage.key)

    def _place(self, name: str, key: str) -> Path:
        return self.directory / STAGES / f"{name.replace('/', '.')}-{key[:8]}"

    def find(self, name: str) -> Path | None:
        """The directory of a stage that the finished run keeps; None where it has none so named."""
        found = self.manifest.stages.get(name)
        return None if found is None else self.directory / STAGES / found

    def names(self, prefix: str = "") -> tuple[str, ...]:
        """The names of the stages that the finished run keeps, sorted."""
        return tuple(name for name in sorted(self.manifest.stages) if name.startswith(prefix))

    def keys(self, *prefixes: str) -> tuple[str, ...]:
        """The keys of the stages that the finished run keeps, of some names or prefixes."""
        places = [self.find(name) for name in self.names() if name.startswith(prefixes)]
        return tuple(read_manifest(place).key for place in places if place is not None)

    def finish(
        self, inputs: Mapping[str, object] | None = None, hashes: Mapping[str, str] | None = None
    ) -> None:
        """Makes the requested stages the finished run, and removes their older forms.

        See `adopt` for what it keeps.

        Raises:
            ArtifactError: The directory cannot be written.
        """
        self.adopt(inputs, hashes)
        write_json(self.directory / MANIFEST, self.manifest.to_json())
        (self.directory / UNFINISHED).unlink(missing_ok=True)
        self._sweep(set(self.manifest.stages.values()))

    def adopt(
        self, inputs: Mapping[str, object] | None = None, hashes: Mapping[str, str] | None = None
    ) -> None:
        """Reads the requested stages as the run's own from here on; writes nothing yet.

        A stage of the run before that names in its inputs what it is `about`, keys of other stages
        or fingerprints, stays while all of those are in the new run, as imported scores do.

        Args:
            inputs: The settings of the study, JSON-able. Without it the run before stays as it is,
                with the new stages beside its own.
            hashes: Fingerprints of what the inputs name.
        """
        stages = {name: place.name for name, place in self._used.items() if place.is_dir()}
        if inputs is None:
            inputs, hashes = self.manifest.inputs, self.manifest.hashes
            stages = {**self.manifest.stages, **stages}
        elif self._manifest is not None:
            known = self._keys | set((hashes or {}).values())
            stages = self._kept(self._manifest.stages, known) | stages
        asked, hashes = dict(inputs or {}), dict(hashes or {})
        self._manifest = RunManifest(
            key=fingerprint(KIND, asked, hashes),
            inputs=asked,
            hashes=hashes,
            stages=stages,
            seconds=self._seconds(stages),
            versions=versions(),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _kept(self, stages: Mapping[str, str], known: set[str]) -> dict[str, str]:
        kept = {}
        for name, place in stages.items():
            if name in self._used:
                continue
            try:
                manifest = read_manifest(self.directory / STAGES / place)
            except ArtifactError:
                self.dropped.append(name)
                continue
            about = manifest.inputs.get("about")
            if about is None or not set(about) <= known:
                continue
            if damage(self.directory / STAGES / place, manifest.files) is None:
                kept[name] = place
            else:
                self.dropped.append(name)
        return kept

    def _seconds(self, stages: Mapping[str, str]) -> dict[str, float]:
        """Seconds that stages took when they were made, not when they are read back; by kind."""
        seconds: dict[str, float] = {}
        for name, place in sorted(stages.items()):
            kind = name.partition("/")[0]
            took = read_manifest(self.directory / STAGES / place).seconds
            seconds[kind] = round(seconds.get(kind, 0.0) + took, 3)
        return seconds

    def _sweep(self, kept: set[str]) -> None:
        """Removes what stands under the name of a stage with another key.

        Stages that the study did not request stay: the next study may request them again.
        """
        names = {_stem(place) for place in kept}
        with clear_disk_errors(self.directory):
            for path in (self.directory / STAGES).iterdir():
                if path.name not in kept and _stem(path.name.lstrip(".")) in names:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _stem(place: str) -> str:
    return place.rpartition("-")[0]


def open_run(directory: Path) -> Run:
    """Opens a finished run for reading.

    Raises:
        ArtifactError: The directory is not a finished run.
    """
    return Run(directory, read_run_manifest(directory))


def check_run_place(directory: Path) -> None:
    """Refuses a directory that is neither new nor a run's; changes nothing.

    Raises:
        ArtifactError: Something else is there, or it cannot be written.
    """
    with clear_disk_errors(directory):
        if not directory.exists():
            check_place(directory, kind=KIND)
        elif not directory.is_dir():
            raise ArtifactError(f"{directory} is no directory.", "Choose another place.")
        elif any(directory.iterdir()) and not _is_run(directory):
            raise ArtifactError(f"{directory} exists and is not a run.", "Choose another place.")


@contextmanager
def writing(directory: Path) -> Iterator[Run]:
    """Opens a directory for the stages of a run, for this process alone.

    A finished run there stays as it is until `Run.finish`.

    Raises:
        ArtifactError: The directory is not a run's, cannot be written, or another process is
            writing to it.
    """
    check_run_place(directory)
    new = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        with exclusive(Path(os.path.realpath(directory))), clear_disk_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            with _marked(directory):
                yield _opened(directory)
    except BaseException:
        if new and _holds_nothing(directory):
            shutil.rmtree(directory)
            for path in new[1:]:
                path.rmdir()
        raise


def _opened(directory: Path) -> Run:
    try:
        return open_run(directory)
    except ArtifactError:
        return Run(directory, None)


@contextmanager
def _marked(directory: Path) -> Iterator[None]:
    """Marks a directory in which no run is finished.

    After an error the mark stays on what this run began, and not on a run whose manifest was lost.
    """
    mark = directory / UNFINISHED
    is_new, was_run = not mark.exists(), _holds_stages(directory)
    if _opened(directory).is_finished:
        yield
        return
    mark.touch()
    try:
        yield
    except BaseException:
        others = [path for path in directory.iterdir() if path != mark]
        if is_new and (not others or was_run):
            mark.unlink(missing_ok=True)
        raise


def _holds_nothing(directory: Path) -> bool:
    """Whether a directory has no result: at most what is known of a model, and no cache."""
    if not directory.is_dir():
        return False
    stages = directory / STAGES
    made = {path.name for path in stages.iterdir()} if stages.is_dir() else set()
    names = {path.name for path in directory.iterdir()}
    return names <= {UNFINISHED, STAGES} and all(name.startswith("model.") for name in made)


def _is_run(directory: Path) -> bool:
    try:
        return read_manifest_json(directory).get("kind") == KIND
    except ArtifactError:
        return (directory / UNFINISHED).is_file() or _holds_stages(directory)


def _holds_stages(directory: Path) -> bool:
    """Whether a run was here whose own manifest is lost or damaged."""
    return any(
        re.fullmatch(r".+-[0-9a-f]{8}", path.name) and (path / MANIFEST).is_file()
        for path in (directory / STAGES).glob("*")
    )
