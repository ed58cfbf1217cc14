"""Each method against a slow, obvious oracle."""

import copy
import math
import re
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch

from whence.errors import ModelError, SettingsError
from whence.evidence import opponents, proponents
from whence.methods import MethodInputs, Products, View, score
from whence.methods.reading import main_term, read
from whence.records import GradientProducts, Query, Term
from whence.settings import (
    AttributionSettings,
    EmbeddingSettings,
    RandomSettings,
    TracinSettings,
)


@pytest.fixture
def texts(lab):
    """A small corpus with texts of its own, and two queries."""
    documents = [
        "The cat sat on the mat.",
        "Gold, symbol Au, is a metal; Au comes from aurum.",
        "the THE the cat",
        "   ",
        "nothing in common",
        "...!?",
    ]
    corpus = lab.corpus_of([[1, 2]] * len(documents), [f"t{i}" for i in range(len(documents))])
    table = corpus.table.set_column(1, "text", [documents])
    queries = (
        Query("gold", (Term((1, 2), 1, 1.0),), "The symbol for gold is the Au"),
        Query("unknown", (Term((1, 2), 1, 1.0),), "zzz qqq"),
        Query("wordless", (Term((1, 2), 1, 1.0),), "?!"),
    )
    corpus = replace(corpus, table=table)
    return documents, MethodInputs(queries, corpus, None, {}, AttributionSettings())


def test_bm25_is_okapis_sum_over_the_querys_words(texts):
    documents, inputs = texts
    bags = [re.findall(r"\w+", text.lower()) for text in documents]
    kept = [bag for bag in bags if bag]
    mean = sum(map(len, kept)) / len(kept)

    def slow(query, bag):
        total = 0.0
        for word in re.findall(r"\w+", query.lower()):
            holders = sum(word in other for other in kept)
            if holders:
                idf = math.log(1 + (len(kept) - holders + 0.5) / (holders + 0.5))
                tf = bag.count(word)
                total += idf * tf / (tf + 1.5 * (0.25 + 0.75 * len(bag) / mean))
        return total

    values = score("bm25", inputs).values
    expected = [slow("The symbol for gold is the Au", bag) if bag else np.nan for bag in bags]
    np.testing.assert_allclose(values[0], expected, rtol=1e-5)
    np.testing.assert_array_equal(values[1], [0, 0, 0, np.nan, 0, np.nan])
    assert np.isnan(values[2]).all()


def test_ngram_overlap_is_the_share_of_distinct_3_grams(lab):
    generator = np.random.default_rng(0)
    sequences = [generator.integers(0, 4, size=n).tolist() for n in (0, 1, 2, 3, 9, 30, 30, 80)]
    asked = [generator.integers(0, 4, size=n).tolist() for n in (1, 2, 3, 12, 25)]
    queries = tuple(
        lab.query_of(f"q{i}", tokens, num_prompt_tokens=0) for i, tokens in enumerate(asked)
    )
    corpus = lab.corpus_of(sequences, [f"e{i}" for i in range(len(sequences))])
    inputs = MethodInputs(queries, corpus, None, {}, AttributionSettings())

    def grams(tokens, n):
        return {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}

    values = score("ngram_overlap", inputs).values
    for q, tokens in enumerate(asked):
        n = min(3, len(tokens))
        wanted = grams(tokens, n)
        expected = [len(wanted & grams(s, n)) / len(wanted) if s else np.nan for s in sequences]
        np.testing.assert_allclose(values[q], expected, rtol=1e-6)
    assert 0 < np.nanmean(values) < 1


def test_ngrams_of_large_token_ids_do_not_collide(lab):
    top = 2**21 - 1
    query = lab.query_of("q", [top, 0, top], num_prompt_tokens=0)
    corpus = lab.corpus_of([[top, 0, top], [top - 1, top, top], [0, top, 0]], ["a", "b", "c"])
    inputs = MethodInputs((query,), corpus, None, {}, AttributionSettings())
    assert score("ngram_overlap", inputs).values.tolist() == [[1, 0, 0]]


def test_document_loss_is_the_models_mean_loss(planted):
    values = score("document_loss", planted.inputs).values
    for row, tokens in enumerate(planted.documents):
        if tokens:
            ids = torch.tensor([tokens])
            with torch.no_grad():
                loss = planted.model.model(ids, labels=ids).loss.item()
            assert values[:, row] == pytest.approx(loss, rel=1e-5)


def test_embedding_is_the_cosine_of_mean_middle_states(planted):
    def state(tokens):
        with torch.no_grad():
            out = planted.model.model(torch.tensor([list(tokens)]), output_hidden_states=True)
        return out.hidden_states[1][0].mean(0).numpy()

    values = score("embedding", planted.inputs).values
    for q, query in enumerate(planted.inputs.queries):
        asked = state(query.terms[0].input_ids)
        for row in (0, 7, 11):
            found = state(planted.documents[row])
            cosine = asked @ found / np.linalg.norm(asked) / np.linalg.norm(found)
            assert values[q, row] == pytest.approx(cosine, rel=1e-5)


def test_activation_is_the_cosine_of_what_the_output_layer_reads(planted):
    network = planted.model.model

    def state(tokens, first):
        with torch.no_grad():
            hidden = network.base_model(torch.tensor([list(tokens)])).last_hidden_state[0]
        return hidden[first - 1 : -1].mean(0).numpy()

    values = score("activation", planted.inputs).values
    for q, query in enumerate(planted.inputs.queries):
        asked = state(query.terms[0].input_ids, query.terms[0].num_prompt_tokens)
        for row in (0, 7, 11):
            found = state(planted.documents[row], 1)
            cosine = asked @ found / np.linalg.norm(asked) / np.linalg.norm(found)
            assert values[q, row] == pytest.approx(cosine, rel=1e-5)
    assert not np.allclose(values, score("embedding", planted.inputs).values, equal_nan=True)


def test_what_predicts_nothing_has_no_activation(lab, planted):
    corpus = lab.corpus_of([[5], [6, 7]], ["one", "two"])
    inputs = replace(planted.inputs, corpus=corpus, results={})
    values = score("activation", inputs).values
    assert np.isnan(values[:, 0]).all()
    assert np.isfinite(values[:, 1]).all()
    silent = (lab.query_of("s", [5, 6], num_prompt_tokens=2),)
    assert np.isnan(score("activation", replace(inputs, queries=silent)).values).all()


def test_tfidf_is_the_cosine_of_weighted_counts(texts):
    documents, inputs = texts
    bags = [re.findall(r"\w+", text.lower()) for text in documents]
    kept = [bag for bag in bags if bag]
    vocabulary = sorted({word for bag in kept for word in bag})

    def vector(bag):
        weights = []
        for word in vocabulary:
            holders = sum(word in other for other in kept)
            weights.append(bag.count(word) * (math.log((1 + len(kept)) / (1 + holders)) + 1))
        return np.array(weights)

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    values = score("tfidf", inputs).values
    asked = vector(re.findall(r"\w+", "the symbol for gold is the au"))
    expected = [cosine(asked, vector(bag)) if bag else np.nan for bag in bags]
    np.testing.assert_allclose(values[0], expected, rtol=1e-5)
    np.testing.assert_array_equal(values[1], [0, 0, 0, np.nan, 0, np.nan])
    assert np.isnan(values[2]).all()


@pytest.mark.parametrize("name", ["bm25", "tfidf"])
def test_a_corpus_without_words_has_no_scores(lab, texts, name):
    corpus = lab.corpus_of([[], []], ["a", "b"])
    assert np.isnan(score(name, replace(texts[1], corpus=corpus)).values).all()


def test_length_is_the_number_of_tokens_and_ignores_the_query(lab):
    corpus = lab.corpus_of([[1], [1, 2, 3], [], [4, 5]], ["a", "b", "c", "d"])
    queries = tuple(lab.query_of(n, [1, 2], num_prompt_tokens=1) for n in ("x", "y"))
    values = score("length", MethodInputs(queries, corpus, None, {}, AttributionSettings())).values
    np.testing.assert_array_equal(values, [[1, 3, np.nan, 2]] * 2)


def test_neither_padding_nor_company_changes_what_is_read(lab, planted):
    lengths = [40, 3, 17, 2, 1, 29, 5]
    generator = np.random.default_rng(2)
    documents = [generator.integers(1, 80, size=n).tolist() for n in lengths]
    together = read(planted.model, documents, token_batch_size=4096)
    for row, tokens in enumerate(documents):
        alone = read(planted.model, [tokens], token_batch_size=4096)
        for states in ("middle_states", "last_states"):
            np.testing.assert_allclose(
                getattr(together, states)[row], getattr(alone, states)[0], rtol=1e-4, atol=1e-5
            )
        np.testing.assert_allclose(
            together.mean_losses_nats[row], alone.mean_losses_nats[0], rtol=1e-5
        )


def test_one_token_has_a_state_but_no_loss(lab, planted):
    corpus = lab.corpus_of([[5], [6, 7]], ["one", "two"])
    inputs = replace(planted.inputs, corpus=corpus, results={})
    assert np.isfinite(score("embedding", inputs).values).all()
    assert np.isnan(score("document_loss", inputs).values[:, 0]).all()


def test_the_models_pass_over_the_examples_is_shared(planted, monkeypatch):
    calls = []
    forward = planted.model.model.forward
    monkeypatch.setattr(
        planted.model.model, "forward", lambda *a, **k: (calls.append(1), forward(*a, **k))[1]
    )
    inputs = replace(planted.inputs)
    score("document_loss", inputs)
    once = len(calls)
    score("embedding", inputs)
    score("activation", inputs)
    assert len(calls) == once


def products(dots, query_norms, example_norms):
    return GradientProducts(
        query_ids=("q",),
        example_ids=("a", "b", "c"),
        dots=np.array(dots, dtype=np.float32),
        query_norms=np.array(query_norms, dtype=np.float32),
        example_norms=np.array(example_norms, dtype=np.float32),
        path="streamed",
        settings={"projection_dim": None},
        seconds=0,
    )


def test_gradient_methods_divide_as_they_say_and_leave_out_zero_gradients(lab):
    corpus = lab.corpus_of([[1, 2], [3, 4], [5, 6]], ["a", "b", "c"])
    query = lab.query_of("q", [1, 2], num_prompt_tokens=1)
    inputs = MethodInputs(
        (query,),
        corpus,
        None,
        {Products(): products([[6.0, -1.0, 0.0]], [3.0], [4.0, 0.5, 0.0])},
        AttributionSettings(),
    )
    np.testing.assert_allclose(score("gradient_dot", inputs).values, [[6, -1, np.nan]])
    np.testing.assert_allclose(
        score("gradient_cosine", inputs).values, [[0.5, -2 / 3, np.nan]], rtol=1e-6
    )
    assert score("gradient_dot", inputs).settings == {"path": "streamed", "projection_dim": None}


def test_tracin_sums_over_checkpoints_by_learning_rate(lab):
    corpus = lab.corpus_of([[1, 2], [3, 4], [5, 6]], ["a", "b", "c"])
    query = lab.query_of("q", [1, 2], num_prompt_tokens=1)
    found = {
        Products(View(4)): products([[6.0, -1.0, 0.0]], [3.0], [4.0, 0.5, 0.0]),
        Products(View(8)): products([[2.0, 5.0, 0.0]], [1.0], [2.0, 10.0, 0.0]),
    }
    settings = AttributionSettings(
        tracin=TracinSettings(checkpoints=(4, 8), learning_rates=(0.5, 0.25))
    )
    inputs = MethodInputs((query,), corpus, None, found, settings)
    np.testing.assert_allclose(score("tracin", inputs).values, [[3.5, 0.75, np.nan]])
    cosines = [[(0.5 * 0.5 + 0.25 * 1) / 0.75, (0.5 * -2 / 3 + 0.25 * 0.5) / 0.75, np.nan]]
    np.testing.assert_allclose(score("tracin_cosine", inputs).values, cosines, rtol=1e-6)
    assert score("tracin", inputs).settings["learning_rates"] == [0.5, 0.25]


def test_tracin_predicts_the_steps_that_it_sums_over(planted, lab):
    """At each checkpoint one small step on the document alone, with that checkpoint's rate."""
    scale = 1e-5
    settings = planted.inputs.settings
    given = settings.tracin.learning_rates
    rates = [scale * rate / given[0] for rate in given]
    settings = _tracin(settings, learning_rates=tuple(rates))
    found = score("tracin", replace(planted.inputs, settings=settings)).values
    query = planted.inputs.queries[0]
    for row in (0, 7, 11):
        change = 0.0
        for step, rate in zip(settings.tracin.checkpoints, rates, strict=True):
            lab_model = planted.models[View(step)]
            before = query_loss(lab_model.model, query)
            document = planted.documents[row]
            change += before - after_step(planted, query, document, rate=rate, model=lab_model)
        assert change == pytest.approx(found[0, row], rel=0.02, abs=1e-9)


def test_adams_correction_divides_both_sides(planted):
    from whence.gradients.passes.queries import query_gradients

    gradients = query_gradients(
        planted.model, planted.inputs.queries, modules=planted.modules, token_batch_size=256
    )
    document = lone_gradient(planted, planted.documents[11])
    total, norms = 0.0, np.zeros(2)
    for module in planted.modules:
        root = planted.moments[View()][f"gpt_neox.{module}.weight"].double().flatten().sqrt() + 1e-8
        a, b = gradients[module][0].double() / root, document[module].double().flatten() / root
        total += float(a @ b)
        norms += [float(a @ a), float(b @ b)]
    dot = score("gradient_dot_adam", planted.inputs).values[0, 11]
    cosine = score("gradient_cosine_adam", planted.inputs).values[0, 11]
    assert dot == pytest.approx(total, rel=1e-3)
    assert cosine == pytest.approx(total / np.sqrt(norms.prod()), rel=1e-3)


def test_tracin_adam_predicts_adams_steps(planted):
    """Rates so small that the query's loss is linear in them, in float64."""
    settings = _tracin(planted.inputs.settings, learning_rates=(1e-7, 1e-7))
    found = score("tracin_adam", replace(planted.inputs, settings=settings)).values
    query = planted.inputs.queries[0]
    for row in (0, 7, 11):
        change = 0.0
        for step in settings.tracin.checkpoints:
            checkpoint = planted.models[View(step)]
            before = query_loss(checkpoint.model, query)
            change += before - after_step(
                planted,
                query,
                planted.documents[row],
                rate=1e-7,
                model=checkpoint,
                second_moments=planted.moments[View(step)],
            )
        assert change == pytest.approx(found[0, row], rel=0.02)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"checkpoints": ()}, "names none"),
        ({"checkpoints": (20, 20)}, "20 more than once"),
        ({"learning_rates": None}, "learning rates"),
        ({"learning_rates": (1.0,)}, "1 are known"),
        ({"learning_rates": (0.0, 0.0)}, "weight no checkpoint"),
        ({"checkpoints": (20, 30)}, "step30"),
    ],
)
def test_tracin_without_what_it_sums_over_is_refused(planted, changes, said):
    settings = _tracin(planted.inputs.settings, **changes)
    with pytest.raises(SettingsError, match=said):
        score("tracin", replace(planted.inputs, settings=settings))


def test_the_initial_cosine_is_that_of_the_untrained_model(planted):
    untrained = replace(
        planted.inputs, results={Products(): planted.inputs.results[Products(View("initial"))]}
    )
    floor = score("gradient_cosine_initial", planted.inputs).values
    np.testing.assert_array_equal(floor, score("gradient_cosine", untrained).values)
    assert not np.allclose(floor, score("gradient_cosine", planted.inputs).values, equal_nan=True)


def test_a_contrast_is_searched_by_its_completion(lab):
    terms = (Term((1, 2), 1, -1.0), Term((1, 3), 1, 1.0))
    assert main_term(Query("c", terms, "")).input_ids == (1, 3)


def test_random_depends_on_seed_query_and_example_only(lab):
    ids = [f"d{i}" for i in range(400)]
    corpus = lab.corpus_of([[1, 2]] * 400, ids)
    queries = tuple(lab.query_of(n, [1, 2], num_prompt_tokens=1) for n in ("a", "b"))
    values = score("random", MethodInputs(queries, corpus, None, {}, AttributionSettings())).values
    other = score(
        "random",
        MethodInputs(queries, corpus, None, {}, AttributionSettings(random=RandomSettings(seed=1))),
    ).values
    assert abs(values.mean() - 0.5) < 0.05
    assert abs(np.corrcoef(values[0], values[1])[0, 1]) < 0.2
    assert (values != other).mean() > 0.99


def test_an_embedding_model_without_its_package_names_the_extra(planted, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    settings = AttributionSettings(embedding=EmbeddingSettings(model="all-MiniLM-L6-v2"))
    with pytest.raises(SettingsError, match=r"sentence-transformers.*whence\[embeddings\]"):
        score("embedding", replace(planted.inputs, settings=settings))


def test_an_embedding_model_embeds_texts(planted, monkeypatch):
    seen = []

    class Encoder:
        def __init__(self, name):
            if name != "letters":
                raise OSError(f"no model {name}\nmore")

        def encode(self, texts, *, show_progress_bar):
            assert not show_progress_bar
            seen.append(len(texts))
            return np.array([[len(t) + 1.0, t.count("1") + 0.5] for t in texts])

    package = types.ModuleType("sentence_transformers")
    package.SentenceTransformer = Encoder
    monkeypatch.setitem(sys.modules, "sentence_transformers", package)
    settings = AttributionSettings(embedding=EmbeddingSettings(model="letters"))
    scores = score("embedding", replace(planted.inputs, settings=settings))
    assert seen == [30, 2]
    assert scores.settings == {"model": "letters"}
    assert scores.values[0, 7] == pytest.approx(1)
    assert np.isnan(scores.values[:, 3]).all()
    other = AttributionSettings(embedding=EmbeddingSettings(model="words"))
    with pytest.raises(ModelError, match="'words' cannot be loaded"):
        score("embedding", replace(planted.inputs, settings=other))


@pytest.mark.parametrize("name", ["gradient_dot", "gradient_cosine"])
def test_a_step_on_the_top_proponent_helps_and_on_the_bottom_opponent_harms(planted, name):
    """The sign convention, measured: one small step of SGD on one document."""
    scores = score(name, planted.inputs)
    assert (scores.values < 0).any()
    for row, query in enumerate(planted.inputs.queries):
        best, worst = proponents(scores, row, k=1)[0], opponents(scores, row, k=1)[0]
        before = query_loss(planted.model.model, query)
        assert after_step(planted, query, planted.documents[best]) < before
        assert after_step(planted, query, planted.documents[worst]) > before


def test_gradient_dot_predicts_the_size_of_a_steps_effect(planted):
    """Loss after a step of rate η is loss − η · score, to first order in η."""
    query = planted.inputs.queries[0]
    dots = score("gradient_dot", planted.inputs).values[0]
    before = query_loss(planted.model.model, query)
    for row in (0, 7, 11):
        after = after_step(planted, query, planted.documents[row], rate=1e-5)
        assert before - after == pytest.approx(1e-5 * dots[row], rel=0.02, abs=1e-9)


def _tracin(settings, **changes):
    return settings.model_copy(update={"tracin": settings.tracin.model_copy(update=changes)})


def query_loss(network, query):
    (term,) = query.terms
    ids = torch.tensor([term.input_ids])
    with torch.no_grad():
        log_probs = copy.deepcopy(network).double()(ids).logits[0].log_softmax(-1)
    first = term.num_prompt_tokens
    return -sum(log_probs[t - 1, ids[0, t]].item() for t in range(first, ids.shape[1]))


def lone_gradient(planted, document):
    """A document's gradient in each attributed module, by autograd, in float64."""
    network = copy.deepcopy(planted.model.model).double()
    weights = [network.base_model.get_submodule(name).weight for name in planted.modules]
    ids = torch.tensor([document])
    loss = network(ids, labels=ids).loss * (len(document) - 1)
    return dict(zip(planted.modules, torch.autograd.grad(loss, weights), strict=True))


def after_step(planted, query, document, *, rate=1e-4, model=None, second_moments=None):
    """The query's loss after one step on a document, in the attributed weights only.

    The step is one of plain gradient descent, or of Adam with given second moments.
    """
    network = copy.deepcopy((model or planted.model).model).double()
    weights = [network.base_model.get_submodule(name).weight for name in planted.modules]
    ids = torch.tensor([document])
    loss = network(ids, labels=ids).loss * (len(document) - 1)
    found = torch.autograd.grad(loss, weights)
    for name, weight, gradient in zip(planted.modules, weights, found, strict=True):
        if second_moments is not None:
            root = second_moments[f"gpt_neox.{name}.weight"].double().sqrt()
            gradient = gradient / (root + 1e-8)  # noqa: PLW2901
        weight.data -= rate * gradient
    return query_loss(network, query)
