"""Which method should I use? One answer per purpose, as the leaderboards measured it.

The README, `docs/validation.md` and every page show these answers; tests hold the documents to
them. A figure stands here only if docs/validation.md or docs/testbed.md gives it with its interval.
"""

from typing import NamedTuple


class Advice(NamedTuple):
    """What to use for one purpose.

    `purpose` ends in a question mark; `methods` are names of methods, best known first, and empty
    where none is shown to serve; `grounds` says what that rests on.
    """

    purpose: str
    methods: tuple[str, ...]
    grounds: str


ADVICE: tuple[Advice, ...] = (
    Advice(
        "Where are copies and planted statements?",
        ("bm25", "tfidf", "tracin_cosine"),
        "Text search finds most and needs no gradients. Of the methods on gradients, an average "
        "over checkpoints finds most: what a model has learned well has almost no gradient left at "
        "the end. An untrained model finds as many, so that finding them is no proof of influence.",
    ),
    Advice(
        "What would one more training step on an example do?",
        ("gradient_cosine",),
        "It is better than an untrained model on a testbed, and better than an untrained model and "
        "BM25 on two models of real text. Part of this is the measure's: a step favors gradients "
        "of the same checkpoint.",
    ),
    Advice(
        "What would removing examples late in training have changed?",
        ("ekfac", "adamw_influence", "source", "gradient_cosine"),
        "On real text the own-removed LDS of EK-FAC is 0.39, of gradient cosine 0.21 (0.30 with "
        "Adam's second moments), of an untrained model 0.08, of BM25 0.04. Over the last "
        "twentieth of training of four testbeds EK-FAC, SOURCE and gradient cosine have 0.53 to "
        "0.68. AdamW-influence, measured on one of them, has 0.76 where gradient cosine has 0.63 "
        "and EK-FAC 0.59; it needs the recipe and the order of training.",
    ),
    Advice(
        "What would removing examples early in training have changed, measured there?",
        (),
        "No method is shown to be better than BM25 or than an untrained model at step 128 or 256 "
        "of 488. EK-FAC has the highest value at both (0.19 and 0.25).",
    ),
    Advice(
        "What would removing examples from the whole training have changed?",
        (),
        "No method is shown to know more than where the copies are.",
    ),
)
ALWAYS = (
    "Always look at `gradient_cosine_initial` beside them: what an untrained model ranks first, "
    "training did not put there."
)


def markdown() -> str:
    """Writes the answers as the list of the README and of docs/validation.md."""
    lines = [
        f"- **{one.purpose}** {', '.join(f'`{name}`' for name in one.methods) or 'None'}. "
        f"{one.grounds}"
        for one in ADVICE
    ]
    return "\n".join([*lines, f"- {ALWAYS}"])
