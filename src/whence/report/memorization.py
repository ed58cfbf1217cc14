"""The page of a memorization study: its answers, then pictures and tables; without scripts."""

import html
from collections.abc import Sequence
from pathlib import Path
from string import Template

from whence.artifacts import write_text
from whence.memorization.answers import Answer, answers, documents, interval, placebos
from whence.memorization.early_late import SHARE_OUTCOME
from whence.memorization.families import RULES as FAMILY_RULES
from whence.memorization.record import Attributed, Causes, Memorization
from whence.memorization.shares import SHARE_CLASSES
from whence.memorization.tables import describe
from whence.report.page import asset, policy_hash
from whence.report.svg import Bar, Part, estimates, legend, stacked_bars
from whence.statistics import rounded

_CHIPS = {"cannot be told": "weak", "not measured": ""}
# Too many methods make one picture unreadable; the tables have all.
_METHODS = ("cosine", "tracin_cosine", "bm25", "random")


def write_memorization_page(found: Memorization, title: str, path: Path) -> Path:
    """Writes the page of a memorization study: one file that works offline and has no script.

    Args:
        found: What the study found.
        title: Of the study.
        path: Where to write; an old page there is replaced in one piece.

    Raises:
        ArtifactError: The place cannot be written.
    """
    style = asset("page.css") + asset("memorization.css")
    page = Template(asset("memorization.html")).substitute(
        title=html.escape("".join(c for c in title if c.isprintable())),
        policy=(
            f"default-src 'none'; style-src '{policy_hash(style)}'; img-src data:; "
            "base-uri 'none'; form-action 'none'"
        ),
        style=style,
        body=_body(found, title),
    )
    write_text(path, page)
    return path


def _body(found: Memorization, title: str) -> str:
    parts = [
        f"<h1>{_text(title)}</h1>",
        _paragraph(
            f"{found.model} reproduces {found.num_memorized:,} of {found.num_windows:,} sequences "
            f"of {found.corpus}, given their first {found.num_prompt_tokens} tokens, for "
            f"{found.num_completion_tokens} tokens; {found.num_ever:,} at some checkpoint."
        ),
        *(_answer(one) for one in answers(found)),
    ]
    figures = [_timeline(found), _dose(found)]
    if found.attributed is not None:
        figures.append(_shares(found.attributed))
        figures.append(_copy_scores(found.attributed, found.causes))
        figures.append(_early_late(found.attributed))
    figures += _causes(found.causes)
    pictures = "\n".join(filter(None, figures))
    return "\n".join([*parts, f'<div class="pictures">{pictures}</div>', _tables(found)])


def _answer(one: Answer) -> str:
    change = f'<p class="soft small">What would change this: {_text(one.change)}</p>'
    chip = (
        f'<span class="chip {_CHIPS[one.verdict]}">{_text(one.verdict)}</span> '
        if one.verdict in _CHIPS
        else ""
    )
    points = "".join(f"<li>{_text(point)}</li>" for point in one.points)
    return (
        f'<section class="answer"><h2>{_text(one.question)}</h2>'
        f'<p class="short">{chip}{_text(one.short)}</p>'
        f"{f'<ul>{points}</ul>' if points else ''}{change if one.change else ''}</section>"
    )


def _timeline(found: Memorization) -> str:
    bars = [
        Bar(
            f"step {one.step}: {one.num_extractible:,}",
            (
                Part(one.kept, "kept"),
                Part(one.new, "new"),
                Part(-one.forgotten, "forgotten"),
            ),
        )
        for one in found.flow
    ]
    return _figure(
        "Reproduced at each checkpoint",
        legend(("kept", "new", "forgotten"))
        + stacked_bars(bars, label="Sequences kept, new and forgotten at each checkpoint"),
        "Kept from the checkpoint before, new since it, and forgotten since it (to the left).",
    )


def _dose(found: Memorization) -> str:
    rows = [
        (f"{documents(one)} document{'' if one.high == 1 else 's'}", one.continuations)
        for one in found.dose
        if one.continuations.n
    ]
    if not rows:
        return ""
    return _figure(
        "Copies and reproduction",
        estimates(
            rows,
            label="Share of distinct continuations reproduced, by documents that hold them",
            unit="share",
            lines=(0.0, 1.0),
        ),
        "The share of distinct continuations that are reproduced, by the number of documents that "
        "hold them, with Wilson's 95 % interval.",
    )


def _shares(found: Attributed) -> str:
    bars = []
    for method in dict.fromkeys(s.method for s in found.shares if s.method.method in _METHODS):
        for group, num in found.num_targets:
            if num:
                values = [
                    found.share(method.label, group, "examples", name) for name in SHARE_CLASSES
                ]
                parts = [
                    Part(value.value, name)
                    for name, value in zip(SHARE_CLASSES, values, strict=True)
                    if value is not None and value.value is not None
                ]
                bars.append(Bar(f"{method.name}: {group}", tuple(parts)))
    return _figure(
        f"What the first {found.top_k} examples are",
        legend(SHARE_CLASSES)
        + stacked_bars(bars, label="Shares of relations among the first examples", digits=2),
        "For memorized sequences and two kinds of controls that are not memorized: of the same "
        "family, and of other content with as many copies. The own example is not counted. "
        f"{found.pool}",
    )


def _copy_scores(found: Attributed, causes: Causes) -> str:
    rows = [(one.method.name, one.exact_share) for one in found.copy_scores if one.targets]
    if not rows:
        return ""
    lines = [0.0, 1.0]
    caption = (
        "Of the summed scores of exact and of near copies, what exact ones have; over memorized "
        "sequences with copies of both classes, with 95 % intervals over families. BM25, a random "
        "order and the untrained model show what it is where nothing was learned."
    )
    if causes.twins is not None and causes.twins.exact_share.value is not None:
        rows.append(("training without copies", causes.twins.exact_share))
        lines.append(causes.twins.exact_share.value)
        caption += (
            " The last row, and the line, is what exact copies give in training, of what both "
            "classes give, for the families of the next picture."
        )
    return _figure(
        "How scores divide between exact and near copies",
        estimates(
            rows, label="Exact copies' part of the scores of copies", unit="share", lines=lines
        ),
        caption,
    )


def _early_late(found: Attributed) -> str:
    if found.early_until is None or not found.early_late:
        return ""
    rule, outcomes = found.early_late[0]
    names = {s.method.label: s.method.name for s in found.shares if s.method.method in _METHODS}
    rows = [
        (names[label], one.matched)
        for one in outcomes
        if (label := one.outcome.removeprefix(SHARE_OUTCOME)) in names
    ]
    if not any(one.value is not None for _, one in rows):
        return ""
    return _figure(
        "Early against late, within families",
        estimates(rows, label="Early minus late share of exact copies, by method", unit="share"),
        f"Share of exact copies among the first {found.top_k} examples: sequences memorized by "
        f"step {found.early_until:,} minus later ones of the same family ({FAMILY_RULES[rule]}), "
        "with 95 % intervals over families. A difference by the untrained model or by BM25 is no "
        "difference in what was learned.",
    )


def _causes(found: Causes) -> list[str]:
    parts = []
    for one in found.steps:
        parts.append(
            _figure(
                f"One step on one example, at step {one.step}",
                estimates(
                    list(one.classes),
                    label="Change of the log-probability by one step, by relation",
                    unit="nats",
                ),
                "Change of the log-probability of the whole continuation by one optimizer step on "
                "an example of each relation; mean and 95 % interval over families.",
            )
        )
    if found.twins is not None:
        parts.append(
            _figure(
                f"Training on from step {found.twin_step} without copies",
                estimates(
                    [(one.name, one.estimate) for one in found.twins.effects],
                    label="What removing copies costs",
                    unit="nats per token",
                ),
                f"{found.twin_num_steps} steps; {found.twin_families} families, each with every "
                "arm in turn; mean and 95 % interval over families. Exact alone and near alone are "
                "what one class gives where the other is absent.",
            )
        )
    return parts


def _tables(found: Memorization) -> str:
    rows = [
        (rounded(lag, 0), interval(one, 3), f"{one.n:,}")
        for lag, one in found.exposure_effects
        if one.interval is not None
    ]
    parts = []
    if rows:
        caption = (
            "Log-probability of the continuation of examples that were seen, minus that of "
            "examples not seen yet, both compared with the checkpoint before the exposure; "
            "negative numbers of checkpoints are before it and should be zero."
        )
        header = ("checkpoints since exposure", "nats per token", "windows")
        caption = " ".join(filter(None, (caption, placebos(found))))
        parts.append(f"<h2>Before and after exposure</h2>{_paragraph(caption)}")
        parts.append(_table(header, rows))
    text = _text(describe(found))
    parts.append(
        "<h2>All tables</h2><details><summary>Every figure of this study as text</summary>"
        f'<pre tabindex="0">{text}</pre></details>'
    )
    return "".join(parts)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0">{table}</div>'


def _figure(title: str, picture: str, caption: str) -> str:
    return (
        f"<section><h2>{_text(title)}</h2><figure>{picture}"
        f'<figcaption class="soft small">{_text(caption)}</figcaption></figure></section>'
    )


def _paragraph(text: str) -> str:
    return f"<p>{_text(text)}</p>"


def _text(text: str) -> str:
    return html.escape("".join(c for c in text if c.isprintable() or c == "\n"))
