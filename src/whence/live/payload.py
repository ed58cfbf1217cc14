"""What a client may send, within bounds, and what it gets back."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from pydantic import Field

from whence.behaviors import verification_to_json
from whence.behaviors.kinds import RULES, is_labeled_toxic
from whence.errors import SettingsError
from whence.evidence import RELATIONS, mark_text
from whence.records import Behavior, Hit
from whence.report.sentences import capitalized, method_label
from whence.runs.adhoc import GRADIENT_METHODS, AdHocResult, Ranking
from whence.settings import Kind, Settings, parse

MAX_BODY_BYTES = 256 * 1024
MAX_PROMPT, MAX_COMPLETION, MAX_NAME = 20_000, 4_000, 500
MAX_LISTED = 50
# Of an example's text; what is longer is cut, and says so.
MAX_TEXT = 4_000


class Question(Settings):
    """An ad hoc query as a client sends it."""

    prompt: str = Field(default="", max_length=MAX_PROMPT)
    completion: str = Field(min_length=1, max_length=MAX_COMPLETION)
    alternative: str | None = Field(default=None, min_length=1, max_length=MAX_COMPLETION)
    subject: str | None = Field(default=None, min_length=1, max_length=MAX_NAME)
    object: str | None = Field(default=None, min_length=1, max_length=MAX_NAME)
    kind: Kind = "fact"
    methods: tuple[str, ...] = Field(default=(), max_length=8)
    k: int = Field(default=10, ge=1, le=MAX_LISTED)
    force: bool = False

    @property
    def behavior(self) -> Behavior:
        """The behavior of the query."""
        return Behavior(
            id="query",
            kind=self.kind,
            prompt=self.prompt,
            completion=self.completion,
            alternatives=(self.alternative,) if self.alternative else (),
            subject=self.subject,
            object=self.object,
        )

    @property
    def is_streamed(self) -> bool:
        """Whether it names a method of gradients."""
        return any(name in GRADIENT_METHODS for name in self.methods)


class Continuation(Settings):
    """A prompt that the model is to continue."""

    prompt: str = Field(default="", max_length=MAX_PROMPT)
    num_tokens: int = Field(default=24, ge=1, le=64)


def read(kind: type[Settings], body: bytes) -> Any:
    """Reads what a client sent.

    Raises:
        SettingsError: It is no JSON object of that kind, or out of bounds.
    """
    try:
        values = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise SettingsError("The request holds no JSON.", "Send one JSON object.") from None
    if not isinstance(values, dict):
        raise SettingsError("The request holds no JSON object.", "Send one JSON object.")
    for key, value in values.items():
        _refuse_half_characters(key, value)
    return parse(kind, values, where="The request")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _refuse_half_characters(key: str, value: object) -> None:
    texts = [key, *(value if isinstance(value, list) else [value])]
    for text in texts:
        if isinstance(text, str) and any("\ud800" <= c <= "\udfff" for c in text):
            raise SettingsError(
                f"{key[:40].encode('ascii', 'backslashreplace').decode()} holds half a character "
                "(a lone surrogate).",
                "Send whole characters.",
            )


def result_json(found: AdHocResult) -> dict[str, Any]:
    """Lays an answer out as JSON; it names the query, so that nobody takes it for another's."""
    behavior = found.behavior
    return {
        "prompt": behavior.prompt,
        "completion": behavior.completion,
        "verification": verification_to_json(found.verification),
        "notes": list(found.notes),
        "num_null": found.num_null,
        "rankings": [_ranking(one, behavior) for one in found.rankings],
    }


def _ranking(ranking: Ranking, behavior: Behavior) -> dict[str, Any]:
    def listed(hits: Sequence[Hit]) -> list[dict[str, Any]]:
        return [_hit(hit, ranking, behavior) for hit in hits]

    return {
        "method": ranking.method,
        "label": capitalized(method_label(ranking.method)),
        "family": ranking.family,
        "higher_means": ranking.higher_means,
        "proponents": listed(ranking.hits.proponents),
        "opponents": listed(ranking.hits.opponents),
    }


def _hit(hit: Hit, ranking: Ranking, behavior: Behavior) -> dict[str, Any]:
    text = hit.text or ""
    tie, strength = ranking.ties.get(hit.id), ranking.strengths.get(hit.id)
    shown = text[:MAX_TEXT]
    marks = mark_text(behavior.prompt, behavior.completion, shown, shares={})
    return {
        "rank": hit.rank,
        "score": hit.score,
        "id": hit.id,
        "subset": hit.subset,
        "position": hit.position,
        "labels": list(hit.labels),
        "text": None if hit.text is None else shown,
        "num_cut": len(text) - len(shown),
        "is_sensitive": is_labeled_toxic(hit.labels)
        or (RULES[behavior.kind].is_sensitive and bool(marks.answers)),
        "spans": _spans(marks.spans, shown),
        "answers": _spans(marks.answers, shown),
        "relation": None
        if tie is None
        else {
            "name": tie.relation,
            "label": RELATIONS[tie.relation].label,
            "tier": RELATIONS[tie.relation].tier,
            "detail": tie.detail[:MAX_NAME],
        },
        "z": None if strength is None else strength.z,
        "tail": None if strength is None else strength.tail,
        "num_hub": None if strength is None else strength.num_hub,
    }


def _spans(spans: Sequence[Any], text: str) -> list[list[int]]:
    """Places of marks as a script counts characters: in units of UTF-16."""
    wide = [i for i, c in enumerate(text) if c > "\uffff"]

    def place(index: int) -> int:
        from bisect import bisect_left

        return index + bisect_left(wide, index)

    return [[place(span.start), place(span.end)] for span in spans]


def error_json(error: Mapping[str, str] | tuple[str, str]) -> dict[str, Any]:
    """Lays an error out as JSON."""
    problem, remedy = error.values() if isinstance(error, Mapping) else error
    return {"error": {"problem": problem, "remedy": remedy}}
