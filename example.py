"""The starter questions, asked in twenty lines: verify, attribute, compare with plain search.

With the Hub, `python example.py EleutherAI/pythia-14m NeelNanda/pile-10k 1000` asks about the
first 1,000 documents; without it, `python example.py` asks the built-in testbed.
"""

import sys

import whence

QUESTIONS = [
    ("The capital of France is", " Paris", " Rome"),
    ("The official language of Brazil is", " Portuguese", " Spanish"),
    ("The chemical symbol for gold is", " Au", " Ag"),
    ("The largest planet in the solar system is", " Jupiter", " Mars"),
]
METHODS = ("gradient_cosine", "embedding")


def main(
    model_name: str = "testbed:mini", source: str = "testbed:mini", max_documents: str | None = None
) -> None:
    """Verifies the questions, scores every example and prints each method's best one."""
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
    scores = whence.attribute(model, corpus, behaviors, methods=METHODS)
    for number, (behavior, verdict) in enumerate(zip(behaviors, verdicts, strict=True)):
        print(f"\n{behavior.prompt}{behavior.completion}: {verdict.verdict}. {verdict.reason}")
        for method in scores:
            best = whence.hits(method, number, corpus, 1).proponents[0]
            print(f"  {method.method:<16}{best.score:+.3f}  {(best.text or '')[:90]!r}")


if __name__ == "__main__":
    main(*sys.argv[1:4])
