"""How to make the run again: commands, versions, hashes, settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from whence.report.context import Context
from whence.report.encode import jsonable
from whence.report.sections import SectionKind


@dataclass(frozen=True, kw_only=True)
class Modules:
    """Which parameters were attributed."""

    attributed: Annotated[Mapping[str, int], "from module to weights"]
    left_out: Annotated[Mapping[str, int], "from parameter to weights"]


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Everything that determined the run."""

    commands: Annotated[Sequence[str], "that make the run again and look into it"]
    versions: Annotated[Mapping[str, str], "of packages that numbers depend on"]
    hashes: Annotated[Mapping[str, str], "of corpus and model"]
    settings: Annotated[object, "the study, as it was run"]
    seconds: Annotated[Mapping[str, float], "by stage"]
    modules: Modules | None
    manifest: Annotated[Mapping[str, object], "the rest of the run's manifest"]


def reproduce(page: Context) -> Reproduce:
    """Collects what determined a run."""
    record = page.record
    rest = dict(record.manifest)
    hashes = {"corpus (ids and tokens)": record.corpus.fingerprint, **rest.pop("hashes", {})}
    coverage = record.coverage
    return Reproduce(
        commands=record.commands,
        versions=rest.pop("versions", {}),
        hashes=hashes,
        settings=jsonable(rest.pop("inputs", None)),
        seconds=rest.pop("seconds", {}),
        modules=None
        if coverage is None
        else Modules(attributed=coverage.modules, left_out=coverage.left_out),
        manifest=rest,
    )


SECTION = SectionKind(order=70, menu="Run it again", make=reproduce)
