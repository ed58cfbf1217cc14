"""Settings: every option with its bounds and its default.

Settings are frozen, are composed rather than inherited, and refuse unknown keys with a suggestion.
A study is one TOML file; the Python API takes the same objects.
"""

import json
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from whence.errors import SettingsError, did_you_mean

# Their labels and rules are rows of the table in `behaviors/kinds.py`.
Kind = Literal["fact", "stereotype", "memorized", "toxic", "style"]
KINDS: tuple[Kind, ...] = get_args(Kind)


# No setting is larger; what is computed from it then fits into 64 bits.
MOST = 2**31 - 1
# Of documents and tokens there may be more.
MOST_TOKENS = 2**48
Seed = Annotated[int, Field(ge=0, le=MOST)]


class Settings(BaseModel):
    """The base of every settings record: frozen, and strict about keys and types."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )


class ModelSettings(Settings):
    """Which model.

    Example:
        >>> ModelSettings(name="EleutherAI/pythia-14m", revision="step143000").dtype
        'float32'
    """

    name: str = Field(description="A Hub id, a folder, or `testbed:mini` / `testbed:nano`.")
    revision: str | None = Field(
        default=None, description="A branch, tag or commit such as `step143000`."
    )
    tokenizer: str | None = Field(default=None, description="Another tokenizer's Hub id or folder.")
    initial: str | None = Field(
        default=None,
        description="Untrained weights to compare with: a revision, a folder, or `random`, "
        "which draws them anew.",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = "auto"


class CorpusSettings(Settings):
    """Which documents, how they are read, and how they become examples.

    Example:
        >>> CorpusSettings(source="NeelNanda/pile-10k", split="train").text_column
        'text'
    """

    source: str = Field(
        description="A Hub dataset id; a file or folder (.jsonl, .jsonl.gz, .jsonl.zst, .parquet, "
        ".txt, an Arrow folder); Pythia's memory map (.bin); or `testbed:mini` / `testbed:nano`."
    )
    format: Literal["auto", "jsonl", "parquet", "arrow", "text", "mmap", "hub"] = "auto"
    split: str = Field(
        default="train",
        description="Of a Hub dataset, a saved one, or a folder whose files are named after "
        'splits; `""` reads every file of a folder.',
    )
    config: str | None = None
    revision: str | None = None
    text_column: str = "text"
    id_column: str | None = Field(
        default=None,
        description='By default `id` where present, else the row; `""` for the row in any case.',
    )
    duplicate_ids: Literal["refuse", "number"] = Field(
        default="refuse",
        description="What to do where an id occurs again: `number` makes `x`, `x#2`, `x#3` of it.",
    )
    subset_column: str | None = Field(
        default=None,
        description='By default `subset`, or `meta.pile_set_name`, where present; `""` for none.',
    )
    position_column: str | None = Field(
        default=None,
        description="The place in the order of training, by default `position` where present. "
        '`""` for the row: the source is in the order of training.',
    )
    step_column: str | None = Field(
        default=None, description='By default `step` where present; `""` for none.'
    )
    max_documents: int | None = Field(default=None, gt=0, le=MOST_TOKENS)
    max_tokens: int | None = Field(default=None, gt=0, le=MOST_TOKENS)
    first_row: int = Field(
        default=0, ge=0, le=MOST_TOKENS, description="Memory maps: the first row to read."
    )
    num_rows: int | None = Field(
        default=None, gt=0, le=MOST_TOKENS, description="Memory maps: how many rows to read."
    )
    mmap_dtype: Literal["uint8", "uint16", "uint32", "int32", "int64"] | None = Field(
        default=None,
        description="Memory maps: the type of a token; by default what the `.idx` beside it says, "
        "else `uint16`, as Pythia's.",
    )
    row_length: int | None = Field(
        default=None,
        gt=1,
        le=MOST,
        description="Memory maps: tokens of a row; by default the documents of the `.idx` beside "
        "it, else 2,049, as Pythia's.",
    )
    max_line_mb: float = Field(
        default=64,
        gt=0,
        le=2048,
        description="Text and JSON lines: the longest line or paragraph, in MiB; a bound on "
        "memory.",
    )
    long_documents: Literal["truncate", "window"] = "truncate"
    max_length: int | None = Field(
        default=None, gt=1, le=MOST, description="By default the context length."
    )
    append_eos: bool = Field(
        default=False, description="End every document with the end-of-text token."
    )
    stream: bool = Field(
        default=False, description="Read a Hub dataset row by row, without downloading it."
    )


class VerifySettings(Settings):
    """How a behavior is proved.

    Example:
        >>> VerifySettings().num_samples
        25
    """

    num_samples: int = Field(
        default=25, ge=5, le=MOST, description="Continuations sampled per prompt."
    )
    num_sampled_tokens: int = Field(default=20, ge=1, le=MOST)
    temperature: float = Field(default=1.0, gt=0, le=1e6)
    seed: Seed = 0
    toxic_judge: str = Field(
        default="wordlist", description="`wordlist` or a Hugging Face classifier."
    )
    style_judge: str = Field(default="ngram", description="`ngram` or a Hugging Face classifier.")
    judge_label: str | None = Field(
        default=None, description="A Hub classifier's label that counts."
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1)


class IndexSettings(Settings):
    """Which gradients are stored, and how they are computed.

    Modules, batch size and disk budget also hold for products that are computed without an index.

    Example:
        >>> IndexSettings(storage="bfloat16").precision
        'float32'
    """

    modules: str = Field(
        default="*",
        description="Globs of modules to attribute, comma-separated; `!` excludes: `*,!*router*`.",
    )
    projection_dim: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="Rows and columns per module; by default the largest that fits the budget.",
    )
    projection_seed: Seed = 0
    include_bias: bool = Field(default=False, description="Attribute the modules' biases too.")
    loss_reduction: Literal["sum", "mean"] = Field(
        default="sum", description="An example's loss is the sum over its tokens, or their mean."
    )
    collector: Literal["whence", "bergson"] = Field(
        default="whence",
        description="Whose code computes the gradients; `bergson` is the reference, and slower.",
    )
    precision: Literal["float32", "mixed", "int8", "int4"] = Field(
        default="float32",
        description="`mixed` multiplies the output layer in bfloat16, where the device does; "
        "`int8` and `int4` need Bergson's own build, on a GPU.",
    )
    storage: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="The type of the rows on disk."
    )
    rank: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="Store each module's gradient as factors of this rank, in a format of whence's "
        "own; by default whole, in Bergson's.",
    )
    fsdp: bool = Field(
        default=False, description="Bergson's own build spreads the weights over all GPUs."
    )
    disk_budget_gb: float = Field(default=2.0, gt=0, le=1e9, allow_inf_nan=False)
    token_batch_size: int = Field(
        default=4096,
        ge=2,
        lt=2**31,
        description="Tokens in a batch, padding included; where it is not set, an index's pass "
        "on a GPU takes as many as fit.",
    )

    @model_validator(mode="after")
    def _fit_together(self) -> "IndexSettings":
        option = "fsdp" if self.fsdp else f"precision {self.precision}"
        if self.by_engine and self.collector != "bergson":
            raise ValueError(f"the collector `whence` has no `{option}`; `bergson` has")
        if self.by_engine and self.rank is not None:
            raise ValueError(f"Bergson's `{option}` has no `rank {self.rank}`")
        if self.by_engine and self.storage != "float32":
            raise ValueError(f"Bergson's `{option}` has no `storage {self.storage}`")
        if self.collector == "bergson" and self.precision == "mixed":
            raise ValueError("the collector `bergson` has no `precision mixed`; `whence` has")
        return self

    @property
    def set_batch_size(self) -> int | None:
        """The tokens in a batch, where they were set; None leaves them to the device."""
        is_set = "token_batch_size" in self.model_fields_set
        return self.token_batch_size if is_set else None

    @property
    def by_engine(self) -> bool:
        """Whether Bergson's own build does all of it: with `fsdp`, int8 or int4."""
        return self.fsdp or self.precision in ("int8", "int4")

    @property
    def row_options(self) -> dict[str, object]:
        """The options, other than the defaults, that only stored rows have."""
        defaults = self.without_row_options()
        return {n: value for n, value in self if n in defaults and value != defaults[n]}

    @classmethod
    def without_row_options(cls) -> dict[str, object]:
        """The defaults of the options that only stored rows have."""
        names = ("include_bias", "loss_reduction", "collector", "precision", "storage", "rank")
        names = (*names, "fsdp")
        return {name: cls.model_fields[name].default for name in names}

    def key(self) -> dict[str, object]:
        """What determines the rows beside the model, its modules and the examples."""
        key = self.model_dump(exclude={"modules", "disk_budget_gb", "token_batch_size"})
        if self.rank is None:
            del key["rank"]  # As before there were ranks: whole rows keep their key.
        return key


CurvatureRank = Annotated[
    int | None,
    Field(
        ge=1,
        le=MOST,
        description="Keep so many eigenvalues of each module's curvature, and the mean of all "
        "others; by default the whole matrix, which has p⁴ entries.",
    ),
]


def _without_rank(values: dict[str, Any]) -> dict[str, Any]:
    """Leaves out a rank of None, so that whole curvatures keep the key that they had without."""
    return {n: value for n, value in values.items() if (n, value) != ("curvature_rank", None)}


class TrackstarSettings(Settings):
    """Which parts of TrackStar are on.

    Example:
        >>> TrackstarSettings(whiten=False, unit_norm=False).mixing  # the paper's Exp 1
        'none'
    """

    correction: Literal["none", "adam"] = Field(
        default="none", description="Divide gradients by the root of Adam's second moments."
    )
    whiten: bool = Field(default=True, description="Multiply with R^(-1/2) on both sides.")
    mixing: Literal["none", "crossing"] | float = Field(
        default="none",
        description="The weight of the reference behaviors in R: a number, or `crossing` for the "
        "one at which the spectra cross.",
    )
    unit_norm: bool = True
    damping: float = Field(default=0.1, ge=0, description="In mean eigenvalues of a module's R.")
    curvature_rank: CurvatureRank = None

    @field_validator("mixing")
    @classmethod
    def _is_a_share(cls, value: float | str) -> float | str:
        if not isinstance(value, str) and not 0 <= value <= 1:
            raise ValueError("a weight lies in [0, 1]")
        return value

    @model_serializer(mode="wrap")
    def _as_before_ranks(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_rank(handler(self))


class TracinSettings(Settings):
    """Which checkpoints TracIn sums over, with which weights."""

    checkpoints: tuple[int, ...] = Field(default=(), description="Steps of training.")
    learning_rates: tuple[float, ...] | None = Field(
        default=None,
        description="One per checkpoint: that of the step after it. By default the testbed's own.",
    )


class InfluenceSettings(Settings):
    """How the curvature of stored rows is inverted."""

    damping: float = Field(
        default=0.1, ge=0, description="In mean eigenvalues of a module's curvature."
    )
    curvature_rank: CurvatureRank = None

    @model_serializer(mode="wrap")
    def _as_before_ranks(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_rank(handler(self))


class EkfacSettings(Settings):
    """Which curvature EK-FAC fits, and how it is inverted."""

    damping: float = Field(
        default=0.1, ge=0, description="In mean eigenvalues of a module's curvature."
    )
    labels: Literal["sampled", "given"] = Field(
        default="sampled",
        description="Whose labels the curvature has: drawn from the model, or the texts' own.",
    )
    seed: Seed = Field(default=0, description="Of drawn labels.")


class EkfacCgSettings(Settings):
    """Over how many examples the exact curvature is a mean, and how well it is inverted."""

    damping: float = Field(
        default=0.1, ge=0, description="In mean eigenvalues of a module's curvature."
    )
    num_examples: int = Field(
        default=256, ge=1, le=MOST, description="Examples that are drawn for the curvature."
    )
    tolerance: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="The residual, relative to the query's gradient, at which it is solved.",
    )
    max_iterations: int = Field(
        default=25, ge=1, le=MOST, description="Products with the curvature, at most."
    )
    seed: Seed = Field(default=0, description="Of the examples that are drawn.")


class SourceSettings(Settings):
    """The segments of training that SOURCE follows, and their curvature."""

    checkpoints: tuple[int, ...] = Field(
        default=(), description="The last step of each segment, ascending; the last ends training."
    )
    labels: Literal["sampled", "given"] = "sampled"
    seed: Seed = Field(default=0, description="Of drawn labels.")


class MagicSettings(Settings):
    """How much of training MAGIC differentiates through."""

    since: int = Field(
        default=0,
        ge=0,
        le=MOST,
        description="Differentiate back to the state after this step; earlier examples have "
        "no score.",
    )


class AdamwInfluenceSettings(Settings):
    """How much of training AdamW-influence walks back through."""

    last_steps: int = Field(
        default=24,
        ge=1,
        le=MOST,
        description="Walk back through so many steps before the end; earlier examples have no "
        "score.",
    )


class TrakSettings(Settings):
    """Which models TRAK averages over, and how their curvature is inverted."""

    ensemble: tuple[str, ...] = Field(
        default=(),
        description="Other models trained on the same corpus: folders, Hub ids, or `seed1`, "
        "`seed2` and so on of a testbed.",
    )
    damping: float = Field(
        default=0.1, ge=0, description="In mean eigenvalues of a module's curvature."
    )


class AdamSettings(Settings):
    """Where Adam's second moments come from."""

    second_moments: str = Field(
        default="auto",
        description="`auto` (a checkpoint's own where it has them, else estimated), `estimate`, "
        "or a file of the model's own.",
    )
    training_batch_size: int | None = Field(
        default=None,
        ge=1,
        le=MOST,
        description="Sequences per optimizer step, to estimate second moments; by default the "
        "testbed's own.",
    )
    seed: Seed = Field(default=0, description="Of the examples that an estimate is made from.")


class EmbeddingSettings(Settings):
    """What embeds texts."""

    model: str | None = Field(
        default=None,
        description="A sentence-transformers model; by default the attributed model's own hidden "
        "states.",
    )


class RandomSettings(Settings):
    """Which random order the control has."""

    seed: Seed = 0


class NoSettings(Settings):
    """The settings of a method that has none."""


T = TypeVar("T", bound=Settings)


class AttributionSettings(Settings):
    """How examples are tied to behaviors: what all methods share, and one table per family.

    Example:
        >>> AttributionSettings().path
        'auto'
    """

    path: Literal["auto", "streamed", "stored"] = "auto"
    methods: tuple[str, ...] = (
        "gradient_cosine",
        "gradient_dot",
        "bm25",
        "tfidf",
        "ngram_overlap",
        "embedding",
        "activation",
        "document_loss",
        "length",
        "random",
    )
    contrast: bool = Field(
        default=False, description="Attribute completion minus alternative where there is one."
    )
    reference_behaviors: str | None = Field(
        default=None,
        description="A file of behaviors (or `testbed:mini`) with which others are compared; by "
        "default the study's other behaviors.",
    )
    checkpoint_local: bool = Field(
        default=False,
        description="Give no score to an example that the model's checkpoint has not seen.",
    )
    adam: AdamSettings = AdamSettings()
    tracin: TracinSettings = TracinSettings()
    trackstar: TrackstarSettings = TrackstarSettings()
    influence: InfluenceSettings = InfluenceSettings()
    ekfac: EkfacSettings = EkfacSettings()
    ekfac_cg: EkfacCgSettings = EkfacCgSettings()
    source: SourceSettings = SourceSettings()
    magic: MagicSettings = MagicSettings()
    adamw_influence: AdamwInfluenceSettings = AdamwInfluenceSettings()
    trak: TrakSettings = TrakSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    random: RandomSettings = RandomSettings()

    def table(self, kind: type[T]) -> T:
        """Picks the table of that class; `NoSettings` is the table of a method without settings."""
        if kind is NoSettings:
            return kind()
        (found,) = (value for _, value in self if type(value) is kind)
        return found


# Settings that once stood in `[attribution]` itself, and where they stand now.
MOVED: Mapping[str, tuple[str, ...]] = {
    "checkpoints": ("attribution.tracin.checkpoints", "attribution.source.checkpoints"),
    "learning_rates": ("attribution.tracin.learning_rates",),
    "damping": (
        "attribution.influence.damping",
        "attribution.ekfac.damping",
        "attribution.trak.damping",
    ),
    "fisher_labels": ("attribution.ekfac.labels", "attribution.source.labels"),
    "magic_since": ("attribution.magic.since",),
    "ensemble": ("attribution.trak.ensemble",),
    "second_moments": ("attribution.adam.second_moments",),
    "training_batch_size": ("attribution.adam.training_batch_size",),
    "embedding_model": ("attribution.embedding.model",),
    "seed": (
        "attribution.random.seed",
        "attribution.ekfac.seed",
        "attribution.source.seed",
        "attribution.adam.seed",
    ),
    "modules": ("index.modules",),
    "projection_dim": ("index.projection_dim",),
    "projection_seed": ("index.projection_seed",),
    "disk_budget_gb": ("index.disk_budget_gb",),
    "token_batch_size": ("index.token_batch_size",),
}


class EvidenceSettings(Settings):
    """How evidence is judged: by which unrelated queries, against which copies.

    Example:
        >>> EvidenceSettings().num_null
        100
    """

    num_null: int = Field(
        default=100,
        ge=0,
        le=10_000,
        description="Unrelated queries by which scores are calibrated; 0 calibrates none.",
    )
    null_texts: str | None = Field(
        default=None,
        description="A file of texts that training did not see. By default a testbed's held-out "
        "texts, or else samples of the model.",
    )
    seed: Seed = Field(default=0, description="Of sampled texts and of random pairs.")


class EffectSettings(Settings):
    """Which examples get one training step of their own, and what that step is.

    Example:
        >>> EffectSettings().num_examples
        3
    """

    num_examples: int = Field(
        default=3,
        ge=0,
        le=50,
        description="Step on so many of the leading method's first examples, on as many of "
        "search's, and on as many random ones like them; 0 steps on none.",
    )
    behaviors_per_kind: int = Field(
        default=8, ge=1, le=MOST, description="For the first so many behaviors of each kind."
    )
    learning_rate: float = Field(
        default=1e-4, gt=0, le=1, description="Of the step, the first one of a fresh AdamW."
    )
    seed: Seed = Field(default=0, description="Of the random examples.")


class BehaviorFile(Settings):
    """Where behaviors come from.

    Example:
        >>> BehaviorFile(file="behaviors.toml").kinds
        ('fact', 'stereotype', 'memorized', 'toxic', 'style')
    """

    file: str = Field(description="A TOML file of behaviors, or `testbed:mini` / `testbed:nano`.")
    kinds: tuple[Kind, ...] = KINDS
    ids: tuple[str, ...] | None = Field(default=None, description="Only these behaviors.")


class StudySettings(Settings):
    """One question with everything that determines its answer: the content of `study.toml`."""

    title: str = Field(min_length=1, max_length=500)
    model: ModelSettings
    corpus: CorpusSettings
    behaviors: BehaviorFile
    verify_model: ModelSettings | None = Field(
        default=None,
        description="Verify with another model than is attributed; needs `allow_other_model`.",
    )
    allow_other_model: bool = False
    force: bool = Field(
        default=False, description="Attribute behaviors that the model does not show."
    )
    verify: VerifySettings = VerifySettings()
    index: IndexSettings = IndexSettings()
    attribution: AttributionSettings = AttributionSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    effect: EffectSettings = EffectSettings()
    top_k: int = Field(
        default=10, ge=1, le=MOST, description="Proponents and opponents shown per behavior."
    )


S = TypeVar("S", bound=BaseModel)


# TOML is read at about a megabyte a second.
_LARGEST = 32 << 20
# The memory that a key takes grows with the square of its parts: 50,000 take 10 GB.
_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"(?<![\w.\"'-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{100,}}+[ \t]*+[=\]]")


def read_toml(path: Path) -> dict[str, object]:
    """Reads a TOML file.

    Raises:
        SettingsError: The file is missing, unreadable or not TOML.
    """
    if "\0" in str(path):
        raise SettingsError(f"There is no file {str(path)!r}.", "Check the path.")
    try:
        state = path.stat()
        if stat.S_ISFIFO(state.st_mode):
            raise SettingsError(
                f"{path} is a pipe, which might never end.", "Write the TOML into a file."
            )
        if state.st_size > _LARGEST:
            raise SettingsError(
                f"{path} has {state.st_size:,} bytes, and a file of settings at most {_LARGEST:,}.",
                "Check the path, or write less into the file.",
            )
        # Some editors begin a file with a byte order mark, which is no TOML.
        text = path.read_text(encoding="utf-8-sig")
        if _LONG_KEY.search(text):
            raise SettingsError(
                f"{path} has a key of more than 100 parts.", "No setting is called so; remove it."
            )
        return tomllib.loads(text)
    except FileNotFoundError:
        raise SettingsError(f"There is no file {path}.", "Check the path.") from None
    except IsADirectoryError:
        inside = path / "study.toml"
        remedy = f"Name {inside}." if inside.exists() else "Name a file in it."
        raise SettingsError(f"{path} is a folder, not a TOML file.", remedy) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"{path} cannot be read ({reason}).", "Check the file.") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and numbers without end.
        reason = str(error) if isinstance(error, ValueError) else "too many nested values"
        raise SettingsError(f"{path} is not valid TOML: {reason}.", "Correct that line.") from None


def parse(model: type[S], values: dict[str, object], *, where: str) -> S:
    """Checks values against a settings record.

    Args:
        model: The record to fill.
        values: What the user wrote.
        where: Where they wrote it, for the message.

    Raises:
        SettingsError: The first thing that is wrong, with the closest known key if one is unknown.
    """
    try:
        # JSON's strictness: a list may stand for a tuple, but `true` or "10" for no number.
        return model.model_validate_json(json.dumps(values, default=str), strict=True)
    except (ValueError, RecursionError) as error:
        if not isinstance(error, ValidationError):
            raise SettingsError(
                f"{where} holds a value that cannot be read ({error}).", "Change that value."
            ) from None
        # A misspelled key also leaves the right one missing; the misspelling explains both.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise _unknown_key(model, first["loc"], where) from None
        if first["type"] == "missing":
            raise SettingsError(f"{where} lacks the setting `{place}`.", "Add it.") from None
        message = first["msg"].removeprefix("Value error, ")
        if isinstance(first["input"], dict | BaseModel):
            within = f" in `{place}`" if place else ""
            raise SettingsError(
                f"{where} cannot be used as it is{within}: {message}.", "Change that."
            ) from None
        raise SettingsError(
            f"{where} has `{place} = {_brief(first['input'])}`: {message}.", "Change that value."
        ) from None


def _brief(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits.
        return "a number of thousands of digits"
    return text if len(text) <= 100 else f"{text[:99]}…"


def load_study(path: Path) -> StudySettings:
    """Reads one study; relative paths in it start from its folder.

    Raises:
        SettingsError: The file cannot be read, or a setting is unknown or out of range.
    """
    values = read_toml(path)
    if values.keys() == {"behavior"}:
        raise SettingsError(
            f"{path} holds behaviors, not a study.",
            "Name it as `behaviors.file` in a study; `whence init` writes one.",
        )
    return parse(StudySettings, values, where=str(path))


def _unknown_key(model: type[BaseModel], loc: tuple[Any, ...], where: str) -> SettingsError:
    if loc[-2:-1] == ("attribution",) and (places := MOVED.get(str(loc[-1]))):
        listed = " or ".join(f"`{place}`" for place in places)
        return SettingsError(
            f"{where} has `{loc[-1]}` in `[attribution]`, where it no longer belongs.",
            f"Set {listed} instead.",
        )
    known = _fields_at(model, loc[:-1])
    remedy = did_you_mean(str(loc[-1]), known, otherwise=f"Known: {', '.join(sorted(known))}.")
    place = ".".join(str(part) for part in loc)
    return SettingsError(f"{where} has an unknown setting `{place}`.", remedy)


def _fields_at(model: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    here: Any = model
    for part in loc:
        if isinstance(part, str) and part in getattr(here, "model_fields", {}):
            here = here.model_fields[part].annotation
            here = next(
                (a for a in getattr(here, "__args__", ()) if hasattr(a, "model_fields")), here
            )
    return list(getattr(here, "model_fields", {}))
