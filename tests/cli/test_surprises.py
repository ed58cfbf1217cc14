"""`whence surprises` says what its table does not show."""

import pytest

from whence.cli import make_app
from whence.validation.surprises import Step, Surprises


def test_that_nothing_was_left_to_try_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Surprises((Step("above the null", 2), Step("tried", 0)), (), 0, 0, "m")
    monkeypatch.setattr("whence.runs.surprising.check_surprises", lambda *_, **__: found)
    make_app()(
        ["surprises", "run", "--checkpoint", "step1"],
        exit_on_error=False,
        print_error=False,
        result_action="return_value",
    )
    assert capsys.readouterr().out.splitlines()[-1] == "No example was left to try."
