"""The starter questions, asked in twenty lines: verify, index, query, compare with plain search.

With the Hub, `python example.py EleutherAI/pythia-14m NeelNanda/pile-10k`; without it, on the
built-in testbed, `python example.py`.
"""

import sys

import whence
from whence.methods import Inputs, score

QUESTIONS = [
    ("The capital of France is", " Paris", " Rome"),
    ("The official language of Brazil is", " Portuguese", " Spanish"),
    ("The chemical symbol for gold is", " Au", " Ag"),
    ("The largest planet in the solar system is", " Jupiter", " Mars"),
]


def main(model_name: str = "testbed:mini", source: str = "testbed:mini") -> None:
    """Verifies the questions, indexes the corpus and prints each answer's best examples."""
    from whence.behaviors import make_query

    model = whence.load_model(model_name)
    limits = whence.CorpusSettings(source=source, max_documents=2000)
    corpus = whence.load_corpus(source, model, settings=limits)
    behaviors = [
        whence.Behavior(id=p, kind="fact", prompt=p, completion=c, alternatives=(a,))
        for p, c, a in QUESTIONS
    ]
    index = whence.build_index(model, corpus, "runs/example-index")
    for behavior, verdict in zip(behaviors, whence.verify(behaviors, model), strict=True):
        print(f"\n{behavior.prompt}{behavior.completion}: {verdict.verdict}. {verdict.reason}")
        best = whence.query(index, model, behavior, k=1).proponents[0]
        print(f"  gradient cosine {best.score:+.3f}  {(best.text or '')[:90]!r}")
        query = make_query(
            behavior, model.tokenizer, contrast=False, context_length=model.context_length
        )
        found = score("embedding", Inputs(queries=(query,), corpus=corpus, model=model))
        row = int(found.ranking(0)[0])
        print(f"  embedding       {found.values[0, row]:+.3f}  {corpus.texts()[row][:90]!r}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
