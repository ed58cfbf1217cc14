"""How does a person at a terminal reach each call?

One thin file per command. This room alone prints: answers on stdout, the conversation on stderr.
"""

import atexit
import gc
import keyword
import sys

import cyclopts

from whence.errors import WhenceError

# Each command's summary and example stand here, so that `whence --help` imports no command.
COMMANDS = {
    "demo": (
        "Show the whole journey on the built-in miniature Pythia, offline.",
        "whence demo",
    ),
    "run": (
        "Run a study: behaviors, gradients, scores and a page, from one TOML file.",
        "whence run examples/pythia-14m-pile-10k.toml",
    ),
    "verify": (
        "Measure whether a model shows some behaviors.",
        "whence verify behaviors.toml --model EleutherAI/pythia-14m --initial step0",
    ),
    "discover": (
        "Look for memorized passages and styles in a model's training documents.",
        "whence discover behaviors.toml --model testbed:mini --corpus testbed:mini",
    ),
    "index": (
        "Build a gradient index of a corpus, in Bergson's format.",
        "whence index runs/index --model EleutherAI/pythia-14m --corpus NeelNanda/pile-10k",
    ),
    "query": (
        "Ask an index which examples are tied to a prompt's completion.",
        'whence query runs/index --prompt "The capital of France is" --completion " Paris"',
    ),
    "show": (
        "Print what a run found.",
        "whence show runs/demo --behavior fact/capital-france",
    ),
    "import": (
        "Take another tool's scores into a run, as one more method.",
        "whence import runs/demo scores.parquet --method theirs --orientation higher",
    ),
    "report": (
        "Write a run's page again.",
        "whence report runs/demo",
    ),
    "testbed": (
        "Write the testbed's corpus and its truth, or train it again.",
        "whence testbed runs/testbed --train",
    ),
    "bank": (
        "Train a testbed many times without some of its planted groups.",
        "whence bank runs/bank --size nano --jobs 2",
    ),
    "validate": (
        "Hold a run's methods against planted truth, one more step, retraining and each other.",
        "whence validate runs/nano --bank runs/bank",
    ),
    "doctor": (
        "Check this machine and this installation.",
        "whence doctor",
    ),
}

app = cyclopts.App(
    name="whence",
    help=(
        "Which training examples are most responsible for a behavior of a language model?\n\n"
        "Example: whence demo"
    ),
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
    version_flags=["--version"],
)
for _name, (_summary, _example) in COMMANDS.items():
    # A keyword cannot be the name of a module or a function.
    _place = f"{_name}_" if keyword.iskeyword(_name) else _name
    app.command(
        f"whence.cli.{_place}:{_place}", name=_name, help=f"{_summary}\n\nExample: {_example}"
    )


def main() -> None:
    """Runs one command; exits with 2 on a mistake of the user's and 130 when interrupted."""
    spare_collector()
    try:
        app()
    except WhenceError as error:
        print(f"whence: {error.problem}\n{error.remedy}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(
            "\nwhence: Interrupted. Run the same command again to go on from here.", file=sys.stderr
        )
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


def spare_collector() -> None:
    """Lets the garbage collector look seldom while packages are imported, and not at the end.

    PyTorch and Bergson bring half a million objects that stay; looking through them again and
    again, and once more to end the process, takes one to two seconds of every command.
    """
    gc.set_threshold(10_000)
    atexit.register(gc.freeze)
