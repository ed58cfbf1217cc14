"""The study of the demo."""

from whence.settings import (
    AttributionSettings,
    BehaviorFile,
    CorpusSettings,
    ModelSettings,
    StudySettings,
    TracinSettings,
)

# The page leads with the first method on gradients. What a model has learned well has almost no
# gradient left at the end, so this one looks at a fifth of training, and at no other time. Of the
# sets of checkpoints that ship, it is the cheapest that ranks a planted statement first for
# every fact of mini (`python benchmarks/lead.py`).
LEAD = "tracin_cosine"
# They would cost a pass over the corpus of their own, and rank worse here.
_AT_THE_END = ("gradient_cosine", "gradient_dot")
EARLIER = 0.2


def demo_study(size: str, *, force: bool = False) -> StudySettings:
    """Asks about every behavior of the testbed, with methods of every family.

    Example:
        >>> demo_study("mini").attribution.methods[:2]
        ('tracin_cosine', 'bm25')
        >>> demo_study("mini").attribution.tracin.checkpoints
        (512,)
    """
    from whence.testbed import last_step, steps

    source, end = f"testbed:{size}", last_step(size)
    earlier = min(steps(size), key=lambda step: abs(step - EARLIER * end))
    return StudySettings(
        title="Whence did a miniature Pythia learn this?",
        model=ModelSettings(name=source),
        corpus=CorpusSettings(source=source),
        behaviors=BehaviorFile(file=source),
        attribution=AttributionSettings(
            methods=(LEAD, *(m for m in AttributionSettings().methods if m not in _AT_THE_END)),
            tracin=TracinSettings(checkpoints=(earlier,)),
        ),
        force=force,
    )
