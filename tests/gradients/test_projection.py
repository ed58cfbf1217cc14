"""Projection matrices are Bergson's, bit for bit; a query that needs them imports no Bergson."""

import subprocess
import sys

import pytest
import torch

from whence.gradients import build_index, require_engine
from whence.gradients.index.files import Projection
from whence.gradients.index.projection import projection_matrix
from whence.settings import IndexSettings

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

CPU = torch.device("cpu")


def how(dim: int, seed: int | None, *, kind: str = "rademacher", scale: str = "jl") -> Projection:
    return Projection(dim, seed, False, "per_module", 2, kind, scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("dim", "num_columns", "seed"),
    [(1, 1, 0), (4, 127, 3), (16, 128, None), (5, 129, 2**40), (32, 1000, 7), (130, 257, 0)],
)
def test_a_matrix_is_bergsons_bit_for_bit(dim, num_columns, seed, dtype):
    require_engine()
    from bergson.collector.collector import create_module_projection_matrix

    for side in ("left", "right"):
        ours = projection_matrix(
            how(dim, seed), "layers.1.é", side, num_columns=num_columns, dtype=dtype, device=CPU
        )
        theirs = create_module_projection_matrix(
            "layers.1.é", side, dim, num_columns, dtype, CPU, "rademacher", "jl", seed
        )
        assert ours.dtype == dtype
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("kind", "scale"), [("normal", "jl"), ("rademacher", "row_norm")])
def test_other_kinds_of_matrices_are_made_by_bergson(kind, scale):
    require_engine()
    from bergson.collector.collector import create_module_projection_matrix

    ours = projection_matrix(
        how(4, 1, kind=kind, scale=scale),
        "x",
        "left",
        num_columns=9,
        dtype=torch.float32,
        device=CPU,
    )
    theirs = create_module_projection_matrix("x", "left", 4, 9, torch.float32, CPU, kind, scale, 1)
    assert torch.equal(ours, theirs)


def test_the_sides_and_modules_have_different_matrices():
    made = [
        projection_matrix(how(8, 0), name, side, num_columns=64, dtype=torch.float32, device=CPU)
        for name in ("a", "b")
        for side in ("left", "right")
    ]
    assert len({m.numpy().tobytes() for m in made}) == 4


def test_a_query_of_a_projected_index_imports_no_bergson(lab, tmp_path):
    model = lab.tiny("neox")
    corpus = lab.corpus_of(lab.random_sequences([9, 12, 7]))
    index = build_index(model, corpus, tmp_path / "index", IndexSettings(projection_dim=4))
    lab.save(model, tmp_path / "model")
    code = f"""
import sys
from pathlib import Path
from transformers import AutoModelForCausalLM
from whence.gradients import open_index
from whence.gradients.index.stored import query_rows
from whence.models.load import model_fingerprint
from whence.records import LoadedModel, Query, Term
network = AutoModelForCausalLM.from_pretrained({str(tmp_path / "model")!r}).eval()
model = LoadedModel(network, None, "tiny", model_fingerprint(network), 48)
index = open_index(Path({str(index.path)!r}))
rows = query_rows(index, model, (Query("q", (Term((1, 2, 3, 4), 2, 1.0),), "text"),))
assert {{len(r[0]) for r in rows.values()}} == {{16}}
assert not [name for name in sys.modules if name.partition(".")[0] in ("bergson", "peft")]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
