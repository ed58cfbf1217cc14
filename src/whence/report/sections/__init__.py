"""The sections of a page, in its order: one module here for the data, one script that draws them.

Every module of this folder is a section, and has a `SECTION`; `assets/sections/` has a script of
the same name. Adding these two files is all that a new section takes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from types import NoneType
from typing import get_args, get_type_hints

from whence.report.context import Context


@dataclass(frozen=True, kw_only=True)
class SectionKind:
    """A section of every page.

    `make` returns the section's data, a record whose schema is its return annotation, or None where
    a run has nothing to show. `order` places it among the others, smallest first; `menu` is the
    link to it at the head of the page.
    """

    order: int
    menu: str | None
    make: Callable[[Context], object | None]

    @property
    def schema(self) -> type:
        """The record that `make` returns."""
        returned = get_type_hints(self.make)["return"]
        schemas = [one for one in get_args(returned) if one is not NoneType]
        return schemas[0] if schemas else returned


def section_kinds() -> dict[str, SectionKind]:
    """Finds the sections in this folder.

    Returns:
        From the name of each to what makes it, in the order of the page.
    """
    names = [module.name for module in iter_modules(__path__)]
    found = {name: import_module(f"{__name__}.{name}").SECTION for name in names}
    return dict(sorted(found.items(), key=lambda item: (item[1].order, item[0])))
