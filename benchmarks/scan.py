"""How fast is a scan for memorization, beside plain generation?

The same windows of pile-mini at its last checkpoint, interleaved: one teacher-forced pass, and
`generate` of transformers for 32 tokens, one window at a time and 64 at a time. Their decisions are
compared. One thread; on a GPU where there is one. Nothing here is asserted.

    python benchmarks/scan.py [--windows 192] [--repeats 3]
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

from inputs import test_data
from measure import report


def main() -> None:
    """Measures every way, prints windows per second and the ratios, and keeps them."""
    import numpy as np
    import torch

    from whence.corpus import load_corpus
    from whence.memorization import first_windows
    from whence.memorization.scan import scan
    from whence.models import load_model
    from whence.settings import CorpusSettings, ModelSettings

    parser = argparse.ArgumentParser()
    parser.add_argument("--windows", type=int, default=192)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    source = test_data() / "pile-mini"
    model = load_model(ModelSettings(name=str(source / "checkpoints" / "step2530")))
    corpus = load_corpus(
        CorpusSettings(source=str(source / "train.jsonl.gz"), max_documents=4000),
        model.tokenizer,
        context_length=model.context_length,
    )
    windows = first_windows(corpus)
    windows = windows.select(np.arange(asked.windows) * len(windows) // asked.windows)
    prompts = torch.tensor(windows.tokens[:, :32], dtype=torch.int64, device=model.model.device)

    def scanned() -> list[bool]:
        return scan(model, windows, step=2530).is_extractible.tolist()

    def generate(batch_size: int) -> list[bool]:
        found = []
        for start in range(0, len(prompts), batch_size):
            ids = prompts[start : start + batch_size]
            with torch.no_grad():
                out = model.model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=32,
                    min_new_tokens=32,
                    do_sample=False,
                    pad_token_id=0,
                )
            end = windows.continuations[start : start + batch_size]
            found += (out[:, 32:].cpu().numpy() == end).all(axis=1).tolist()
        return found

    ways: dict[str, Callable[[], list[bool]]] = {
        "scan": scanned,
        "generate, 1 at a time": lambda: generate(1),
        "generate, 64 at a time": lambda: generate(64),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    decided: dict[str, list[bool]] = {}
    for _ in range(asked.repeats):
        for name, way in ways.items():
            started = time.process_time()
            decided[name] = way()
            seconds[name].append(time.process_time() - started)
    rows = [
        {
            "way": name,
            "windows_per_processor_second": len(windows) / statistics.median(took),
            "scan_is_faster_by": statistics.median(
                one / base for one, base in zip(took, seconds["scan"], strict=True)
            ),
            "decides_as_the_scan": decided[name] == decided["scan"],
            "extractible": sum(decided[name]),
            "processor_seconds": took,
        }
        for name, took in seconds.items()
    ]
    for row in rows:
        print(row)
    report("scan.json", rows, *sys.argv[1:])


if __name__ == "__main__":
    main()
