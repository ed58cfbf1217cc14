"""Behaviors: specification, verification and discovery.

`spec` reads and writes behaviors, `query` turns one into the loss that stands for it, `measure`
computes how likely a completion is, `generate` continues a prompt, `judges` decide whether a text
is toxic or in a style, and `verification` joins them into a verdict: shown, weak or not shown.
`kinds` is the table of what is measured of each kind and which of the `verdicts` judges it.
"""

from whence.behaviors.discover import find_memorized, find_styles
from whence.behaviors.query import encode_pair, make_queries, make_query, token_texts
from whence.behaviors.serialization import verification_from_json, verification_to_json
from whence.behaviors.spec import dump_behaviors, load_behaviors
from whence.behaviors.verification import verify

__all__ = [
    "dump_behaviors",
    "encode_pair",
    "find_memorized",
    "find_styles",
    "load_behaviors",
    "make_queries",
    "make_query",
    "token_texts",
    "verification_from_json",
    "verification_to_json",
    "verify",
]
