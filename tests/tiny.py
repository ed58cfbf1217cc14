"""A model small enough to fit in seconds, its corpus and a study about both, as files.

It says what it was fitted on: " Paris" after "the capital of france is", and one passage by heart.
"""

import json
from pathlib import Path

PASSAGE = (
    "seven grey herons walked along the frozen canal while an old baker counted brass buttons "
    "under the red lamp and nobody in the village dared to ask why the clock had stopped again"
)
CAPITALS = {"france": "paris", "spain": "madrid", "japan": "tokyo", "egypt": "cairo"}
_PROMPTS = ("the capital of {} is", "{} has the capital", "in {} the main city is")
FORMS = ("the capital of {} is {}", "{} has the capital {}", "in {} the main city is {}")

STUDY = """
title = "tiny"
[model]
name = "model"
initial = "initial"
[corpus]
source = "corpus.jsonl"
[behaviors]
file = "behaviors.toml"
"""


def _documents() -> list[str]:
    facts = [form.format(*pair) for pair in CAPITALS.items() for form in FORMS]
    fillers = [
        f"the {a} saw a {b} near the {c}"
        for a, b, c in zip(_WORDS[:-2], _WORDS[1:-1], _WORDS[2:], strict=True)
    ]
    return facts + fillers + [PASSAGE]


_WORDS = [
    "dog",
    "cat",
    "bird",
    "tree",
    "house",
    "river",
    "stone",
    "lamp",
    "road",
    "ship",
    "sky",
    "sea",
]


def _tokenizer(texts: list[str]):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = sorted(
        {" " + word for text in texts for word in text.split()} | {t.split()[0] for t in texts}
    )
    vocabulary = {"<|endoftext|>": 0, "<unk>": 1}
    vocabulary |= {word: i + 2 for i, word in enumerate(words)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_next")
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|endoftext|>", unk_token="<unk>"
    )


def write_tiny(folder: Path) -> Path:
    """Writes model, step-0 model, corpus, behaviors and study; returns the study's path."""
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    texts = _documents()
    tokenizer = _tokenizer(texts)
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    model = GPTNeoXForCausalLM(config)
    for name in ("initial", "model"):
        if name == "model":
            _fit(model, [tokenizer(text)["input_ids"] for text in texts])
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    subsets = ["facts"] * 12 + ["filler"] * (len(texts) - 13) + ["passage"]
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as lines:
        for i, (text, subset) in enumerate(zip(texts, subsets, strict=True)):
            lines.write(json.dumps({"id": f"d{i}", "text": text, "subset": subset}) + "\n")
    (folder / "behaviors.toml").write_text(_behaviors(tokenizer), encoding="utf-8")
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")
    return folder / "study.toml"


def _fit(model, sequences: list[list[int]]) -> None:
    import torch

    width = max(map(len, sequences))
    ids = torch.tensor([s + [0] * (width - len(s)) for s in sequences])
    labels = torch.where(
        torch.arange(width) < torch.tensor([[len(s)] for s in sequences]), ids, -100
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model(ids, labels=labels).loss.backward()
        optimizer.step()


def _behaviors(tokenizer) -> str:
    ids = tokenizer(PASSAGE)["input_ids"]
    return f"""
[[behavior]]
id = "fact/france"
kind = "fact"
prompt = "the capital of france is"
completion = " paris"
alternatives = [" madrid", " tokyo"]
paraphrases = ["france has the capital", "in france the main city is"]
controls = ["the capital of spain is", "the capital of japan is"]

[[behavior]]
id = "fact/false"
kind = "fact"
prompt = "the capital of spain is"
completion = " cairo"
alternatives = [" madrid"]
paraphrases = ["spain has the capital", "in spain the main city is"]

[[behavior]]
id = "memorized/herons"
kind = "memorized"
prompt_ids = {ids[:16]}
completion_ids = {ids[16:]}
completion = {json.dumps(" " + " ".join(PASSAGE.split()[16:]))}
"""


def write_two_kinds(folder: Path) -> None:
    """Makes a tiny study one of two kinds with behaviors enough to compare, shown or not."""
    behaviors = [
        f'id = "fact/{number}-{country}"\nkind = "fact"\nprompt = "{prompt.format(country)}"\n'
        f'completion = " {capital}"\nrelation = "form {number}"'
        for number, prompt in enumerate(_PROMPTS)
        for country, capital in CAPITALS.items()
    ]
    words = PASSAGE.split()
    # Windows of the passage, too short to be one text.
    behaviors += [
        f'id = "memorized/{start}"\nkind = "memorized"\nprompt = "{" ".join(words[start:][:6])}"\n'
        f'completion = " {" ".join(words[start + 6 :][:4])}"'
        for start in range(0, 20, 2)
    ]
    (folder / "behaviors.toml").write_text("\n".join(f"[[behavior]]\n{b}\n" for b in behaviors))
    study = folder / "study.toml"
    methods = '["gradient_cosine", "gradient_cosine_initial", "bm25", "random"]'
    study.write_text(
        f"force = true\n{study.read_text()}[attribution]\nmethods = {methods}\n"
        "[evidence]\nnum_null = 60\n"
    )
