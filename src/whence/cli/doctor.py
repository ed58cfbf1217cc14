"""`whence doctor`: check the installation and this machine."""

import sys

from whence.cli.console import Json, answer, table


def doctor(*, json: Json = False) -> None:
    """Check this machine and this installation.

    Exits with 1 where something is missing that gradients need.
    """
    from whence.runs.doctor import examine

    checks = examine()
    rows = [(("ok" if c.ok else "MISSING"), c.name, c.found, c.remedy) for c in checks]
    answer(
        {"ok": all(c.ok for c in checks), "checks": [c._asdict() for c in checks]},
        table(rows, ("", "what", "found", "what to do")),
        json_line=json,
    )
    sys.exit(0 if all(c.ok for c in checks) else 1)
