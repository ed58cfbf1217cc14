"""Behaviors in TOML files: reading, writing and validation.

One TOML file holds many behaviors, each a `[[behavior]]` table with the fields of
`whence.records.Behavior`.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from whence.errors import BehaviorError, SettingsError
from whence.records import Behavior
from whence.settings import Settings, parse, read_toml

# TOML's short escapes; every other control character is written as \uXXXX.
_ESCAPES = {
    "\\": "\\\\",
    '"': '\\"',
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
}
_LINE_LENGTH = 100


class _BehaviorTables(Settings):
    behavior: tuple[dict[str, object], ...] = ()


def load_behaviors(path: Path) -> tuple[Behavior, ...]:
    """Reads every behavior of a TOML file, in the order of the file.

    Args:
        path: A file of `[[behavior]]` tables.

    Returns:
        At least one behavior; ids are unique.

    Raises:
        SettingsError: The file cannot be read, or a key is unknown, missing or of a wrong kind.
        BehaviorError: The file holds no behavior, two of one id, or an alternative that is the
            completion itself.
    """
    values = read_toml(path)
    if {"model", "behaviors"} <= values.keys():
        raise SettingsError(
            f"{path} holds a study, not behaviors.",
            "Name the file that its `behaviors.file` names, or run the study with `whence run`.",
        )
    tables = parse(_BehaviorTables, values, where=str(path)).behavior
    if not tables:
        raise BehaviorError(
            f"{path} holds no behavior.", "Write at least one `[[behavior]]` table into it."
        )
    behaviors = tuple(
        parse(Behavior, table, where=f"{path}, behavior {number} ({table.get('id', 'no id')})")
        for number, table in enumerate(tables, start=1)
    )
    check_behaviors(behaviors, where=str(path))
    return behaviors


def check_behaviors(behaviors: Sequence[Behavior], *, where: str) -> None:
    """Refuses behaviors that are well-formed one by one but cannot be told apart.

    Args:
        behaviors: What was read or made.
        where: Where they come from, for the message.

    Raises:
        BehaviorError: Two behaviors share an id, or an alternative is the completion itself.
    """
    for behavior_id, count in Counter(behavior.id for behavior in behaviors).items():
        if count > 1:
            raise BehaviorError(
                f"{where} has {count} behaviors with the id {behavior_id!r}.",
                "Give each behavior its own id.",
            )
    for behavior in behaviors:
        if behavior.completion and behavior.completion in behavior.alternatives:
            raise BehaviorError(
                f"{where} has the behavior {behavior.id!r}, whose completion "
                f"{behavior.completion!r} is also one of its alternatives.",
                "Remove it from the alternatives.",
            )


def dump_behaviors(behaviors: Sequence[Behavior]) -> str:
    r"""Writes behaviors as TOML that `load_behaviors` reads back unchanged.

    Args:
        behaviors: In the order in which they shall stand in the file.

    Returns:
        The text of a TOML file; fields with their default value are left out.

    Example:
        >>> print(dump_behaviors([Behavior(id="gold", kind="fact", completion=" \"Au\"")]), end="")
        [[behavior]]
        id = "gold"
        kind = "fact"
        completion = " \"Au\""
    """
    return "\n".join(_table(behavior) for behavior in behaviors)


def _table(behavior: Behavior) -> str:
    values = behavior.model_dump(exclude_defaults=True)
    lines = [f"{key} = {_value(value, indent=len(key) + 3)}" for key, value in values.items()]
    return "\n".join(["[[behavior]]", *lines]) + "\n"


def _value(value: str | tuple[str | int, ...], *, indent: int) -> str:
    if isinstance(value, str):
        return _quoted(value)
    items = [_quoted(item) if isinstance(item, str) else str(item) for item in value]
    line = f"[{', '.join(items)}]"
    if indent + len(line) <= _LINE_LENGTH or all(isinstance(item, int) for item in value):
        return line
    return "\n".join(["[", *(f"    {item}," for item in items), "]"])


def _quoted(text: str) -> str:
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character < " " or character == "\x7f":
        return f"\\u{ord(character):04X}"
    return character
