"""Which examples put the model's output layer in the same state as the query does?"""

from whence.methods.contract import LIKENESS, Found, Inputs, Method, needs_model
from whence.methods.reading import cosines


def compute(inputs: Inputs) -> Found:
    """Takes the cosine between the mean activations that the output layer reads,
    h_q · h_i / (‖h_q‖ ‖h_i‖).

    h is the last hidden state, after the final norm, averaged over the positions that predict: for
    a query those of its completion, given the prompt, for an example all of its tokens but the
    first. Of a contrast only the completion itself counts.

    It differs from `embedding` in both choices. `embedding` averages the middle layer over *all*
    tokens, prompt included, and asks what a text is about; `activation` looks at the last layer,
    where the model has decided what comes next, and only where the query's loss is taken. The
    gradient of the output layer is the sum over positions of the prediction's error times this
    activation, so it is that gradient with the errors left out.

    Returns:
        Cosines in [-1, 1], without unit; higher is more alike. All are high, because all texts
        share a direction: only their order means something. NaN for an example of fewer than two
        tokens, and for every example where the query predicts nothing.

    Use it as the cheapest method that looks into the model: what a gradient method finds beyond it
    comes from the errors and the layers below. It is a weak search: for topics take `embedding`.

    Cost: one forward pass over the distinct examples, shared with `document_loss` and `embedding`.

    Source: the last layer's similarity of Hanawa et al., "Evaluation of Similarity-based
        Explanations", ICLR 2021; the factorization is that of Yeh et al., "Representer Point
        Selection", NeurIPS 2018. Here with means over the predicting positions.
    """  # noqa: D205
    assert inputs.model is not None
    settings = {
        "model": inputs.model.fingerprint,
        "layer": "input of the output layer",
        "pooling": "mean over predicting positions",
    }
    queries, examples = inputs.query_reading.last_states, inputs.reading.last_states
    return Found(cosines(queries, examples), settings)


METHOD = Method("activation", compute, LIKENESS, needs=needs_model)
