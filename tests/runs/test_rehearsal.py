"""The starter studies, rehearsed: the real download code against a Hub with the same layout.

The weights are random and the model is tiny, so it knows no answer; what is tested is the journey.
"""

import gzip
import io
import json
from pathlib import Path

import pytest
from tests.hub_server import LoopbackHub

from whence.runs.record import load_run
from whence.runs.study import run_study
from whence.settings import load_study

EXAMPLES = Path(__file__).parents[2] / "examples"


def _serve(hub: LoopbackHub, name: str, data: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(data / "pythia-tokenizer" / "tokenizer.json"),
        eos_token="<|endoftext|>",
    )
    config = GPTNeoXConfig(
        vocab_size=50304,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=2048,
    )
    for step in (0, 143000):
        torch.manual_seed(step)
        folder = tmp_path / f"step{step}"
        GPTNeoXForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        hub.add_folder("models", name, folder, revision=f"step{step}")
    with gzip.open(data / "pile-documents.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(next(lines)) for _ in range(12)]
    table = pa.table(
        {
            "text": [row["text"][:600] for row in rows],
            "meta": [{"pile_set_name": row["meta"]["pile_set_name"]} for row in rows],
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    hub.add("datasets", "NeelNanda/pile-10k", {"data/train-00000.parquet": buffer.getvalue()})


@pytest.mark.parametrize("size", ["14m", "160m"])
def test_a_starter_study_runs_from_the_hub_to_a_page(
    size: str, hub: LoopbackHub, data: Path, tmp_path: Path
) -> None:
    _serve(hub, f"EleutherAI/pythia-{size}", data, tmp_path)
    study = load_study(EXAMPLES / f"pythia-{size}-pile-10k.toml")
    study = study.model_copy(update={"force": True})
    result = run_study(study, tmp_path / "run", base=EXAMPLES)
    record = load_run(result.directory)
    assert result.page.is_file()
    assert record.model == f"EleutherAI/pythia-{size}@step143000"
    assert len(record.corpus) == 12
    assert None not in record.corpus.table.column("subset").to_pylist()
    assert len(record.forced) == sum(
        v.verdict == "not shown" for v in record.verifications.values()
    )
    for scores in record.scores:
        assert scores.values.shape == (4, 12)
    assert record.coverage is not None
    assert 0 < record.coverage.num_attributed < record.coverage.num_parameters
