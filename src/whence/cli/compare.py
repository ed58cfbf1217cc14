"""`whence compare`: do kinds of behavior differ in what they are attributed to?"""

from pathlib import Path

from whence.cli.console import Json, answer, progress


def compare(run: Path, *, seed: int = 0, json: Json = False) -> None:
    """Compare what different kinds of behavior are attributed to, with four controls.

    Tables and findings are stored in the run, as the stage `comparison`.

    Parameters
    ----------
    run
        The run's directory.
    seed
        Of permutations, resampling and matching.
    """
    from whence.evidence import format_comparison
    from whence.runs.comparing import compare_run

    found = compare_run(run, seed=seed, progress=progress())
    answer({**found.to_json(), "run": str(run)}, format_comparison(found), json_line=json)
