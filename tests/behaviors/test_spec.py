"""A file of behaviors is read back exactly as it was written, and mistakes get one sentence."""

import subprocess
import sys
from pathlib import Path

import pytest

from whence.behaviors.spec import dump_behaviors, load_behaviors
from whence.errors import BehaviorError, SettingsError, WhenceError
from whence.records import Behavior

FULL = Behavior(
    id="gold",
    kind="fact",
    prompt="The symbol for gold is",
    completion=" Au",
    alternatives=(" Ag", " Fe"),
    paraphrases=("Gold's symbol:", "In chemistry, gold is written" * 4),
    controls=(),
    subject="gold",
    relation="symbol",
    object="Au",
    note="",
)


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "b.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        'say "no"',
        "back\\slash \\n",
        "tab\tnewline\ncarriage\r\n",
        "".join(chr(i) for i in range(1, 0xA1)),
        "\x00\x7f\x85\u2028",
        "é 漢字 😀 \U0010ffff",
        "'''\"\"\"",
        "# [[behavior]]",
    ],
)
def test_any_text_comes_back(tmp_path: Path, text: str) -> None:
    behaviors = (
        Behavior(id=text, kind="style", prompt=text, completion=text, controls=(text, "x")),
        FULL,
    )
    assert load_behaviors(_file(tmp_path, dump_behaviors(behaviors))) == behaviors


def test_ids_come_back(tmp_path: Path) -> None:
    behaviors = (
        Behavior(
            id="m", kind="memorized", prompt_ids=tuple(range(60)), completion_ids=tuple(range(60))
        ),
        Behavior(id="n", kind="memorized", prompt_ids=(), completion_ids=(1, 2)),
    )
    assert load_behaviors(_file(tmp_path, dump_behaviors(behaviors))) == behaviors


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", BehaviorError, "holds no behavior"),
        ("behavior = []", BehaviorError, "holds no behavior"),
        ("[[behaviors]]\nid = 'a'", SettingsError, "Did you mean `behavior`?"),
        (
            "[[behavior]]\nid='a'\nkind='fact'\ncompletion='b'\npromt='c'",
            SettingsError,
            "behavior 1 (a) has an unknown setting `promt`. Did you mean `prompt`?",
        ),
        ("[[behavior]]\nid='a'\nkind='facts'\ncompletion='b'", SettingsError, "kind = 'facts'"),
        ("[[behavior]]\nid='a'\nkind='fact'", SettingsError, "needs a completion"),
        ("[[behavior]]\nkind='fact'\ncompletion='b'", SettingsError, "lacks the setting `id`"),
        (
            "[[behavior]]\nid='a'\nkind='fact'\ncompletion='b'\n" * 2,
            BehaviorError,
            "2 behaviors with the id 'a'",
        ),
        (
            "[[behavior]]\nid='a'\nkind='fact'\ncompletion='b'\nalternatives=['c', 'b']",
            BehaviorError,
            "is also one of its alternatives",
        ),
        ("[[behavior]\n", SettingsError, "not valid TOML"),
        (
            "[[behavior]]\nid='a'\nkind='fact'\ncompletion='b'\nparaphrases='c'",
            SettingsError,
            "paraphrases",
        ),
    ],
)
def test_a_mistake_gets_one_clear_sentence(
    tmp_path: Path, text: str, error: type[WhenceError], said: str
) -> None:
    with pytest.raises(error) as caught:
        load_behaviors(_file(tmp_path, text))
    assert said in str(caught.value)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="There is no file"):
        load_behaviors(tmp_path / "none.toml")


def test_importing_the_room_is_cheap() -> None:
    heavy = ("torch", "transformers", "sklearn", "numpy", "datasets", "bergson")
    code = f"import sys, whence.behaviors; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
