"""A name that does not exist is answered with the closest one that does."""

import subprocess
import sys

from whence.errors import did_you_mean


def test_the_closest_known_name_is_proposed_and_none_that_is_unlike():
    known = ("gradient_cosine", "gradient_dot", "bm25")
    assert did_you_mean("gradient_cosin", known, otherwise="-") == "Did you mean `gradient_cosine`?"
    assert did_you_mean("zzz", known, otherwise="Known: all.") == "Known: all."
    assert did_you_mean("a", (), otherwise="Known: none.") == "Known: none."


def test_the_errors_import_nothing_that_only_a_mistake_needs():
    found = subprocess.run(
        [sys.executable, "-c", "import whence.errors, sys; print('difflib' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "False"  # `whence --help` imports the errors.
