"""A task within another is drawn with it, in one display."""

import pytest

from whence.cli import console


def test_a_task_within_another_shares_its_display(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    bars = console.progress()
    displays = []
    make = console._live_bars
    monkeypatch.setattr(console, "_live_bars", lambda: displays.append(make()) or displays[-1])
    with bars.task("outer", total=2, unit="methods") as outer:
        with bars.task("inner", total=10, unit="tokens") as inner:
            inner.advance(10)
        outer.advance(2)
        assert [task.completed for task in displays[0].tasks] == [2, 10]
    with bars.task("next", total=1, unit="steps"):
        pass
    assert len(displays) == 2
    assert "inner" in capsys.readouterr().err
