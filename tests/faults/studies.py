"""A memorization study beside the tiny one, with copies enough that every step has work."""

import json
from pathlib import Path

from tests.tiny import PASSAGE, _fit

MEMORIZATION = """
title = "tiny"
model = { name = "step12" }
corpus = { source = "copies.jsonl" }
[checkpoints]
steps = [0, 6]
last = 12
name = "step{step}"
[sequences]
num_prompt_tokens = 16
num_completion_tokens = 34
[targets]
attribution_steps = [0]
[pool]
num_random = 10
num_weak = 5
[causes]
step_checkpoints = [0]
since = 6
orders = 2
num_examples = 24
[recipe]
batch_size = 6
peak_learning_rate = 0.01
"""
_NUM_COPIES = 3


def write_memorization(folder: Path) -> Path:
    """Writes corpus, checkpoints and study beside those of the tiny one; returns the study."""
    words = [*PASSAGE.split(), *reversed(PASSAGE.split())]
    copies = [" ".join(words)] * _NUM_COPIES
    for n in range(_NUM_COPIES):  # Near ones: a word of each is another.
        copies.append(" ".join("dog" if i == 20 + n else word for i, word in enumerate(words)))
    lines = (folder / "corpus.jsonl").read_text().splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    lines += [json.dumps({"id": f"c{n}", "text": text}) for n, text in enumerate(copies)]
    # Others, as long, to train on in the place of copies.
    lines += [
        json.dumps({"id": f"o{n}", "text": " ".join(texts[n % 20 :][:12])}) for n in range(40)
    ]
    (folder / "copies.jsonl").write_text("\n".join(lines) + "\n")
    _fit_to(folder / "step12", folder / "model", copies[:1] * 8)
    for step in (0, 6):
        (folder / f"step{step}").symlink_to("initial")
    path = folder / "memorization.toml"
    path.write_text(MEMORIZATION)
    return path


def _fit_to(target: Path, source: Path, texts: list[str]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = (c.from_pretrained(source) for c in (AutoModelForCausalLM, AutoTokenizer))
    _fit(model, [tokenizer(text)["input_ids"] for text in texts])
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
