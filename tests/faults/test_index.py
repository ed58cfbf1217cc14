"""An index is what its manifest says, or is refused; and every refusal is one sentence."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.gradients.conftest import Interrupting, corpus_of, random_sequences, tiny

from whence import artifacts, cli
from whence.errors import CorpusError, IndexFormatError, SettingsError
from whence.gradients import build_index, open_index
from whence.gradients.index.verify import verify_index
from whence.records import Behavior
from whence.runs.indexing import index_model, query_index
from whence.runs.opening import open_corpus, open_model
from whence.settings import IndexSettings, ModelSettings

RACING = Path(__file__).with_name("racing.py")
SETTINGS = IndexSettings(projection_dim=4, projection_seed=3, token_batch_size=96)
LENGTHS = (9, 2, 40, 1, 17, 0, 30, 5, 12, 23)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole index; read only."""
    place = tmp_path_factory.mktemp("original") / "index"
    build_index(tiny("neox"), corpus_of(random_sequences(LENGTHS)), place, SETTINGS)
    return place


@pytest.fixture
def index(original: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may break."""
    return Path(shutil.copytree(original, tmp_path / "index"))


@pytest.fixture
def huge(index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The copy, every file of which is too large to be compared with its digest on opening."""
    monkeypatch.setattr(artifacts, "SMALL_BYTES", -1)
    return index


def _change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def _overwrite(path: Path, start: float, stop: float, byte: int) -> None:
    data = bytearray(path.read_bytes())
    part = slice(int(start * len(data)), int(stop * len(data)))
    data[part] = bytes([byte]) * len(data[part])
    path.write_bytes(data)


def _swap_modules(index: Path) -> None:
    info = json.loads((index / "info.json").read_text())
    names = list(info["grad_sizes"])
    names[0], names[1] = names[1], names[0]
    sizes = [info["grad_sizes"][name] for name in names]
    info["grad_sizes"] = dict(zip(names, sizes, strict=True))
    (index / "info.json").write_text(json.dumps(info, indent=2))


def _change_text(index: Path) -> None:
    table = pq.read_table(index / "examples.parquet")
    texts = ["forged", *table.column("text").to_pylist()[1:]]
    place = table.schema.get_field_index("text")
    pq.write_table(table.set_column(place, "text", pa.array(texts)), index / "examples.parquet")


def _ones(index: Path) -> None:
    np.save(index / "norms.npy", np.ones(len(LENGTHS), dtype=np.float32))


DAMAGE = {
    "rows overwritten": lambda d: _overwrite(d / "gradients.bin", 0, 1, 1),
    "a lost half of the rows": lambda d: _overwrite(d / "gradients.bin", 0.5, 1, 0),
    "lengths of ones": _ones,
    "modules of equal size swapped": _swap_modules,
    "another type": lambda d: _change(d / "info.json", '"float32"', '"float16"'),
    "another seed": lambda d: _change(
        d / "processor_config.yaml", "projection_seed: 3", "projection_seed: 4"
    ),
    "biases": lambda d: _change(
        d / "processor_config.yaml", "include_bias: false", "include_bias: true "
    ),
    "other texts": _change_text,
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_file_that_was_altered_is_refused_when_the_index_is_opened(
    index: Path, what: str
) -> None:
    DAMAGE[what](index)
    with pytest.raises(IndexFormatError) as caught:
        open_index(index)
    assert str(index) in caught.value.problem
    assert "Build the index again" in caught.value.remedy


@pytest.mark.parametrize("what", DAMAGE)
def test_an_index_too_large_for_digests_on_opening_still_has_to_agree_with_itself(
    huge: Path, what: str
) -> None:
    DAMAGE[what](huge)
    with pytest.raises(IndexFormatError) as caught:
        open_index(huge)
    assert str(huge) in caught.value.problem


def test_a_byte_that_changed_in_a_large_file_is_found_by_verify_index(
    huge: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify_index(huge).damage == ()
    _overwrite(huge / "gradients.bin", 0.61, 0.6102, 7)
    (damage,) = verify_index(huge).damage
    assert "gradients.bin was changed after it was written" in damage
    code, out, _ = _run(capsys, "verify-index", str(huge), "--json")
    assert code == 2
    assert json.loads(out)["damage"] == [damage]
    code, out, _ = _run(capsys, "verify-index", str(huge))
    assert code == 2
    assert "is damaged" in out


def test_every_damaged_file_is_named(index: Path) -> None:
    _ones(index)
    (index / "corpus.json").unlink()
    _overwrite(index / "gradients.bin", 0, 1, 1)
    damage = verify_index(index).damage
    assert [name for d in damage for name in ("norms", "corpus", "gradients") if name in d] == [
        "corpus",
        "gradients",
        "norms",
    ]


def test_cells_within_an_index_are_compared_too(index: Path) -> None:
    with artifacts.building(index / "cells-dot", kind="cells", inputs={}) as partial:
        (partial / "cells.faiss").write_bytes(b"cells")
    assert verify_index(index).damage == ()
    (index / "cells-dot" / "cells.faiss").write_bytes(b"shells")
    (damage,) = verify_index(index).damage
    assert "cells.faiss has 6 bytes instead of 5" in damage


def test_an_index_that_bergson_made_is_said_to_have_no_digests(
    index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("manifest.json", "examples.parquet", "corpus.json", "norms.npy"):
        (index / name).unlink()
    code, out, _ = _run(capsys, "verify-index", str(index))
    assert code == 0
    assert "has no digests" in out
    _overwrite(index / "info.json", 0, 1, 0)
    assert _run(capsys, "verify-index", str(index))[0] == 2


def test_a_whole_index_is_said_to_be_whole(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(capsys, "verify-index", str(index), "--json")
    found = json.loads(out)
    assert (code, found["has_digests"], found["damage"]) == (0, True, [])
    assert found["bytes"] == sum(
        path.stat().st_size
        for path in index.rglob("*")
        if path.name != "manifest.json" and path.is_file()
    )


def _drop(*keys: str):
    def change(manifest: dict) -> None:
        *outer, last = keys
        for key in outer:
            manifest = manifest[key]
        del manifest[last]

    return change


def _put(value: object, *keys: str):
    def change(manifest: dict) -> None:
        *outer, last = keys
        for key in outer:
            manifest = manifest[key]
        manifest[last] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _drop("inputs"),
        _drop("versions"),
        _drop("details"),
        _drop("files"),
        _drop("key"),
        _drop("inputs", "corpus"),
        _drop("details", "model_name"),
        _drop("details", "columns"),
        _drop("files", "gradients.bin"),
        _put({}, "files"),
        _put([], "files"),
        _put({"bytes": -1, "sha256": "x"}, "files", "norms.npy"),
        _put({"bytes": "1", "sha256": 3}, "files", "norms.npy"),
        _put({"bytes": 1, "sha256": "x"}, "files", "../precious"),
        _put({"bytes": 1, "sha256": "x"}, "files", "/etc/passwd"),
        _put(None, "inputs"),
        _put("0", "inputs", "projection_seed"),
        _put(4, "inputs", "projection_seed"),
        _put("another", "inputs", "model"),
        _put(["x"], "inputs", "modules"),
        _put("product", "inputs", "loss_reduction"),
        _put({"name": 3}, "details", "model"),
        _put(7, "versions", "bergson"),
        _put("0" * 16, "key"),
        _put(2**70, "details", "num_examples"),
    ],
)
def test_a_manifest_with_missing_keys_or_odd_values_is_one_sentence(index: Path, change) -> None:
    manifest = json.loads((index / "manifest.json").read_text())
    change(manifest)
    (index / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(IndexFormatError) as caught:
        open_index(index)
    assert "\n" not in str(caught.value)
    assert str(index) in caught.value.problem


@pytest.mark.parametrize("text", ["{", "[1]", "null", "3", "[" * 50_000, "\x00", '{"format": 1}'])
def test_a_manifest_that_is_none_is_one_sentence(index: Path, text: str) -> None:
    (index / "manifest.json").write_text(text)
    with pytest.raises(IndexFormatError):
        open_index(index)


def _with(corpus, column: str, values: list, kind: pa.DataType):
    place = corpus.table.schema.get_field_index(column)
    table = corpus.table.set_column(place, column, pa.array(values, kind))
    return replace(corpus, table=table)


@pytest.mark.parametrize(
    ("column", "kind", "value"),
    [
        ("subset", pa.string(), "web"),
        ("position", pa.int64(), 7),
        ("step", pa.int64(), 3),
        ("source", pa.string(), "elsewhere"),
        ("text", pa.string(), "another"),
        ("labels", pa.list_(pa.string()), ["planted"]),
    ],
)
def test_changed_metadata_arrives_and_no_gradient_is_computed_again(
    index: Path, column: str, kind: pa.DataType, value: object
) -> None:
    model, corpus = tiny("neox"), corpus_of(random_sequences(LENGTHS))
    before = (index / "gradients.bin").read_bytes()
    changed = _with(corpus, column, [value] * len(corpus), kind)
    never = Interrupting(0)
    again = build_index(model, changed, index, SETTINGS, progress=never)
    assert again is not None
    assert never.totals == []
    assert again.corpus.table.column(column).to_pylist() == [value] * len(corpus)
    assert (index / "gradients.bin").read_bytes() == before
    assert verify_index(index).damage == ()
    assert [path.name for path in index.parent.iterdir()] == ["index"]
    made = json.loads((index / "manifest.json").read_text())["details"]["rows_made"]
    assert made["versions"]["bergson"] == "2.5.1"


def test_changed_metadata_do_not_bless_rows_that_were_altered(huge: Path) -> None:
    """The new manifest would list the digest of whatever is there."""
    model, corpus = tiny("neox"), corpus_of(random_sequences(LENGTHS))
    before = (huge / "gradients.bin").read_bytes()
    _overwrite(huge / "gradients.bin", 0.61, 0.6102, 7)
    changed = _with(corpus, "subset", ["web"] * len(corpus), pa.string())
    again = build_index(model, changed, huge, SETTINGS)
    assert again is not None
    assert (huge / "gradients.bin").read_bytes() == before
    assert again.corpus.table.column("subset").to_pylist() == ["web"] * len(corpus)


def test_the_command_that_makes_an_index_makes_a_damaged_one_again(huge: Path) -> None:
    before = (huge / "gradients.bin").read_bytes()
    _overwrite(huge / "gradients.bin", 0.5, 1, 0)
    build_index(tiny("neox"), corpus_of(random_sequences(LENGTHS)), huge, SETTINGS)
    assert (huge / "gradients.bin").read_bytes() == before


def test_examples_of_other_tokens_are_not_those_of_the_rows(index: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    sequences = random_sequences(LENGTHS, seed=1)
    build_index(tiny("neox"), corpus_of(sequences), other, SETTINGS)
    opened = open_index(index)
    for name in ("examples.parquet", "corpus.json"):
        shutil.copy(other / name, index / name)
    with pytest.raises((IndexFormatError, CorpusError)):
        assert opened.ids


def _built(tiny_folder: Path, model: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_folder)
    loaded = open_model(ModelSettings(name=model))
    from whence.settings import CorpusSettings

    corpus = open_corpus(CorpusSettings(source="corpus.jsonl", max_documents=6), loaded)
    build_index(loaded, corpus, out, IndexSettings(projection_dim=4))


PARIS = Behavior(id="q", kind="fact", prompt="the capital of france is", completion=" paris")


def test_an_index_of_a_model_with_an_at_in_its_path_can_be_queried(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tiny / "model").rename(tiny / "me@home")
    _built(tiny, str(tiny / "me@home"), tmp_path / "idx", monkeypatch)
    index = open_index(tmp_path / "idx")
    assert query_index(index, index_model(index), PARIS, k=2).proponents


def test_an_index_of_a_relative_model_path_can_be_queried_from_elsewhere(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _built(tiny, "model", Path("idx"), monkeypatch)
    monkeypatch.chdir("/")
    index = open_index(tiny / "idx")
    assert query_index(index, index_model(index), PARIS, k=2).proponents
    assert str(tmp_path) not in (tiny / "idx" / "manifest.json").read_text()
    tiny.rename(tmp_path / "moved")
    index = open_index(tmp_path / "moved" / "idx")
    assert query_index(index, index_model(index), PARIS, k=2).proponents
    (tmp_path / "moved" / "model").rename(tmp_path / "gone")
    with pytest.raises(IndexFormatError, match="is not there") as caught:
        index_model(open_index(tmp_path / "moved" / "idx"))
    assert "--model" in caught.value.remedy


def test_only_an_unfinished_index_is_called_unfinished(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / ".run.partial").mkdir()
    (tmp_path / ".file.partial").mkdir()
    with (
        pytest.raises(KeyboardInterrupt),
        artifacts.building(tmp_path / "scores", kind="scores", inputs={}, resume=True) as partial,
    ):
        (artifacts.progress_directory(partial) / "mark").write_text("x")
        raise KeyboardInterrupt
    names = ("file", "loop", "run", "scores", "nowhere", "x" * 300, "x" * 5000)
    for name in names:
        with pytest.raises(IndexFormatError) as caught:
            open_index(tmp_path / name)
        assert "is unfinished" not in str(caught.value)
    monkeypatch.setattr("whence.gradients.index.build.BLOCK_TOKENS", 1)
    corpus = corpus_of(random_sequences(LENGTHS))
    assert build_index(tiny("neox"), corpus, tmp_path / "cut", SETTINGS, shard=(0, 2)) is None
    with pytest.raises(IndexFormatError, match="is unfinished"):
        open_index(tmp_path / "cut")


@pytest.mark.parametrize("shard", [(3, 2), (2, 2), (-1, 2), (0, 0), (0, 999_999_999_999)])
def test_a_share_that_cannot_be_is_refused(tmp_path: Path, shard: tuple[int, int]) -> None:
    with pytest.raises(SettingsError, match="There is no share"):
        build_index(tiny("neox"), corpus_of([[1, 2]]), tmp_path / "idx", SETTINGS, shard=shard)
    assert not list(tmp_path.iterdir())


def test_the_bergson_collector_and_second_moments_are_refused_together(tmp_path: Path) -> None:
    model = tiny("neox")
    moments = {name: p.detach() ** 2 for name, p in model.model.named_parameters()}
    with pytest.raises(SettingsError, match="does not divide by second moments"):
        build_index(
            model,
            corpus_of([[1, 2, 3]]),
            tmp_path / "idx",
            IndexSettings(projection_dim=4, collector="bergson"),
            second_moments=moments,
        )


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = 0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["whence", *arguments])
        patched.setattr(cli, "spare_collector", lambda: None)
        # Signals stay pytest's.
        patched.setattr(cli, "_Interruption", lambda: SimpleNamespace(signal=None))
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


INDEX = ("index", "idx", "--model", "nowhere", "--corpus", "nowhere")
QUERY = ("query", "nowhere", "--prompt", "a")


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ((*INDEX, "--shard", "0/999999999999"), "0/999999999999"),
        ((*INDEX, "--shard", "3/2"), "3/2"),
        ((*INDEX, "--shard", "0/0"), "0/0"),
        ((*INDEX, "--shard", "x"), "share x"),
        ((*INDEX, "--shard", "٣/٤"), "share"),
        ((*INDEX, "--missing", "0"), "share 0/0"),
        ((*INDEX, "--print-slurm", "-1"), "share 0/-1"),
        ((*INDEX, "--merge", "--shard", "0/2"), "`--shard` and `--merge` exclude each other"),
        ((*INDEX, "--rank", "0"), "rank = 0"),
        ((*INDEX, "--rank", "2", "--fsdp", "--collector", "bergson"), "no `rank 2`"),
        ((*INDEX, "--projection-dim", "0"), "projection_dim = 0"),
        ((*INDEX, "--projection-dim", "-4"), "projection_dim = -4"),
        ((*INDEX, "--projection-dim", str(2**70)), "projection_dim = 118"),
        ((*INDEX, "--disk-budget-gb", "-1"), "disk_budget_gb = -1"),
        ((*INDEX, "--disk-budget-gb", "nan"), "disk_budget_gb = nan"),
        ((*INDEX, "--disk-budget-gb", "inf"), "disk_budget_gb = inf"),
        ((*INDEX, "--disk-budget-gb", "1e300"), "disk_budget_gb = 1e+300"),
        ((*INDEX, "--token-batch-size", "0"), "token_batch_size = 0"),
        ((*INDEX, "--token-batch-size", "1"), "token_batch_size = 1"),
        ((*INDEX, "--token-batch-size", str(2**70)), "token_batch_size = 118"),
        ((*INDEX, "--max-documents", "0"), "max_documents = 0"),
        ((*INDEX, "--max-documents", "-1"), "max_documents = -1"),
        ((*INDEX, "--projection-seed", "-1"), "projection_seed = -1"),
        ((*INDEX, "--projection-seed", str(2**70)), "projection_seed = 118"),
        ((*INDEX, "--fsdp"), "no `fsdp`"),
        ((*INDEX, "--precision", "int4"), "no `precision int4`"),
        ((*INDEX, "--modules", "\udcff"), "not valid UTF-8"),
        ((*QUERY, "--completion", ""), "a behavior needs a completion"),
        ((*QUERY, "--completion", "\udcff\udcfe"), "not valid UTF-8"),
        (("query", "\udcff", "--prompt", "a", "--completion", "b"), "not valid UTF-8"),
        (("query", "--prompt", "a", "--completion", " b"), "needs an index"),
        (("verify-index", "nowhere"), "There is no index"),
    ],
)
def test_a_value_out_of_bounds_is_a_sentence_with_it_and_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    value: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, error = _run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert value in error
    assert len(error.splitlines()) == 2, "the problem and the remedy"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("rank", "size"), [("x", "2"), ("2", "2"), ("0", "9" * 5000)])
def test_the_environment_of_torchrun_is_checked_like_a_share(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rank: str,
    size: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    code, _, error = _run(capsys, *INDEX)
    assert code == 2
    assert "There is no share" in error


def test_a_study_can_choose_the_type_of_stored_rows(tiny: Path) -> None:
    from whence.runs.directory import open_run
    from whence.runs.study import run_study
    from whence.settings import load_study

    with (tiny / "study.toml").open("a") as file:
        file.write('[index]\nstorage = "bfloat16"\n[attribution]\nmethods = ["gradient_cosine"]\n')
    run = run_study(load_study(tiny / "study.toml"), tiny / "run", base=tiny).directory
    place = open_run(run).find("index")
    assert place is not None
    assert open_index(place).dtype == "bfloat16"


def test_a_last_share_does_not_build_what_another_has_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waited for the lock finds the index whole, and opens it."""
    from whence.gradients.index import build

    model, corpus = tiny("neox"), corpus_of(random_sequences(LENGTHS))

    def elsewhere(self, number, of):
        build_index(model, corpus, tmp_path / "idx", SETTINGS)
        return True

    monkeypatch.setattr(build._Build, "write_share", elsewhere)
    never = Interrupting(0)
    built = build_index(model, corpus, tmp_path / "idx", SETTINGS, shard=(0, 1), progress=never)
    assert built is not None
    assert never.totals == []


@pytest.mark.slow
@pytest.mark.parametrize("settings", ["equal", "different"])
def test_two_builds_at_once_end_as_one_whole_index(tmp_path: Path, settings: str) -> None:
    done = subprocess.run(
        [sys.executable, str(RACING), str(tmp_path / "root"), settings, "20", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    trials = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(trials) == 20
    for trial in trials:
        assert "Traceback" not in trial["errors"], trial
        assert set(trial["codes"]) <= {0, 2}, trial
        assert 0 in trial["codes"], trial
        assert trial["wrong"] == trial["leftovers"] == [], trial
        assert trial["again"] == 0, trial
    assert any(2 in trial["codes"] for trial in trials), "no two builds met"
