"""The part of a text that shows the longest run of shared words."""

from collections.abc import Sequence

from whence.report.schema import Excerpt, TextRun

# About a line and a half of the list of behaviors.
NUM_CHARACTERS = 110


def excerpt(
    text: str,
    spans: Sequence[TextRun],
    answers: Sequence[TextRun],
    *,
    num_characters: int = NUM_CHARACTERS,
) -> Excerpt:
    """Cuts the part out of a text that starts a little before its longest shared run.

    Args:
        text: The whole text.
        spans: Runs of words shared with the query, in the text.
        answers: Where the whole completion stands in the text.
        num_characters: How long the part is at most.
    """
    first = 0
    if spans and len(text) > num_characters:
        longest = max(spans, key=lambda run: run.num_words)
        first = max(0, min(longest.start - num_characters // 4, len(text) - num_characters))
    last = min(len(text), first + num_characters)
    return Excerpt(
        text=text[first:last],
        is_cut_before=first > 0,
        is_cut_after=last < len(text),
        spans=_within(spans, first, last),
        answers=_within(answers, first, last),
    )


def _within(runs: Sequence[TextRun], first: int, last: int) -> list[TextRun]:
    return [
        TextRun(
            start=max(run.start, first) - first,
            end=min(run.end, last) - first,
            num_words=run.num_words,
        )
        for run in runs
        if run.start < last and run.end > first
    ]
