"""The study of the demo."""

from whence.settings import BehaviorFile, CorpusSettings, ModelSettings, StudySettings


def demo_study(size: str, *, force: bool = False) -> StudySettings:
    """Asks about every behavior of the testbed, with every method that is there.

    Example:
        >>> demo_study("mini").model.name
        'testbed:mini'
    """
    source = f"testbed:{size}"
    return StudySettings(
        title="Whence did a miniature Pythia learn this?",
        model=ModelSettings(name=source),
        corpus=CorpusSettings(source=source),
        behaviors=BehaviorFile(file=source),
        force=force,
    )
