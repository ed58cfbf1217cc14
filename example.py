"""The starter questions, asked in twenty lines: verify, index, query, compare with plain search.

With the Hub, `python example.py EleutherAI/pythia-14m NeelNanda/pile-10k 1000` asks about the
first 1,000 documents; without it, `python example.py` asks the built-in testbed, on two cores in
about three minutes.
"""

import sys

import whence
from whence.behaviors import make_query
from whence.evidence import hits
from whence.methods import MethodInputs, score

QUESTIONS = [
    ("The capital of France is", " Paris", " Rome"),
    ("The official language of Brazil is", " Portuguese", " Spanish"),
    ("The chemical symbol for gold is", " Au", " Ag"),
    ("The largest planet in the solar system is", " Jupiter", " Mars"),
]


def main(
    model_name: str = "testbed:mini", source: str = "testbed:mini", max_documents: str | None = None
) -> None:
    """Verifies the questions, indexes the corpus and prints each answer's best examples."""
    model = whence.load_model(model_name)
    limits = whence.CorpusSettings(
        source=source, max_documents=int(max_documents) if max_documents else None
    )
    corpus = whence.load_corpus(source, model, settings=limits)
    behaviors = [
        whence.Behavior(id=p, kind="fact", prompt=p, completion=c, alternatives=(a,))
        for p, c, a in QUESTIONS
    ]
    verdicts = whence.verify(behaviors, model)
    index = whence.build_index(model, corpus, "runs/example-index")
    queries = tuple(
        make_query(b, model.tokenizer, contrast=False, context_length=model.context_length)
        for b in behaviors
    )
    embedding = score("embedding", MethodInputs(queries=queries, corpus=corpus, model=model))
    for number, (behavior, verdict) in enumerate(zip(behaviors, verdicts, strict=True)):
        print(f"\n{behavior.prompt}{behavior.completion}: {verdict.verdict}. {verdict.reason}")
        best = whence.query(index, model, behavior, k=1).proponents[0]
        print(f"  gradient cosine {best.score:+.3f}  {(best.text or '')[:90]!r}")
        similar = hits(embedding, number, corpus, 1).proponents[0]
        print(f"  embedding       {similar.score:+.3f}  {(similar.text or '')[:90]!r}")


if __name__ == "__main__":
    main(*sys.argv[1:4])
