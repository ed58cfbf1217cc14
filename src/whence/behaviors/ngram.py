"""A character n-gram classifier of style, trained on subsets of the corpus.

A character n-gram classifier: it sees spelling, endings and punctuation, which is what style is at
the length of a sampled continuation, and it is trained in about a second.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

NGRAM_VERSION = 1
# With fewer documents on a side, the held-out quarter is too small to say how often it is wrong.
MIN_DOCUMENTS = 20
_MAX_DOCUMENTS = 300
_HOLD_OUT_EVERY = 4
_FRAGMENTS_PER_DOCUMENT = 3
_NGRAMS = (2, 5)
_MAX_FEATURES = 50_000


class Fragments(NamedTuple):
    """Short pieces of text and whether each is in the style."""

    texts: list[str]
    labels: list[bool]


class StyleData(NamedTuple):
    """What a judge of one style is trained on and tried on; no document is in both."""

    train: Fragments
    held_out: Fragments


def style_data(
    texts_by_subset: Mapping[str, Sequence[str]], style: str, *, num_characters: int
) -> StyleData | None:
    """Cuts documents into fragments as long as the continuations that will be judged.

    Both sides have the same number of documents, the other subsets an equal share of theirs, so a
    judge that always says no is wrong half of the time. Exact copies of a document count once, for
    a copy on both sides would hide errors. A held-out document gives one fragment, so that these
    are independent.

    Args:
        texts_by_subset: Documents by subset.
        style: The subset whose style is judged.
        num_characters: About the length of a continuation.

    Returns:
        The fragments; None where the style or the rest has fewer than `MIN_DOCUMENTS` documents.
    """
    own = list(dict.fromkeys(texts_by_subset.get(style, ())))
    others = [
        list(dict.fromkeys(texts))
        for name, texts in sorted(texts_by_subset.items())
        if name != style
    ]
    rest = _round_robin([_spread(texts, _MAX_DOCUMENTS) for texts in others])
    num = min(len(own), len(rest), _MAX_DOCUMENTS)
    if num < MIN_DOCUMENTS:
        return None
    train, held_out = Fragments([], []), Fragments([], [])
    for label, documents in ((True, _spread(own, num)), (False, rest[:num])):
        for number, document in enumerate(documents):
            pieces = _pieces(document, num_characters)
            is_held_out = number % _HOLD_OUT_EVERY == 0
            side = held_out if is_held_out else train
            chosen = _spread(pieces, 1 if is_held_out else _FRAGMENTS_PER_DOCUMENT)
            side.texts.extend(chosen)
            side.labels.extend([label] * len(chosen))
    return StyleData(train, held_out)


def train_ngram(train: Fragments) -> Callable[[Sequence[str]], list[bool]]:
    """Trains a logistic regression on tf-idf weights of the 2- to 5-grams of characters.

    Args:
        train: Fragments of both kinds.

    Returns:
        A function that tells for each text whether it is likelier in the style than not.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    classifier = make_pipeline(
        TfidfVectorizer(
            analyzer="char",
            ngram_range=_NGRAMS,
            lowercase=False,
            sublinear_tf=True,
            max_features=_MAX_FEATURES,
        ),
        # liblinear needs a quarter of lbfgs's time here, and finds the same.
        LogisticRegression(C=10.0, max_iter=1000, solver="liblinear", random_state=0),
    )
    classifier.fit(train.texts, train.labels)

    def judge(texts: Sequence[str]) -> list[bool]:
        return [bool(label) for label in classifier.predict(list(texts))]

    return judge


def _pieces(document: str, num_characters: int) -> list[str]:
    """Cuts a document into pieces of whole words, none much longer than asked."""
    pieces, words, length = [], [], 0
    for word in document.split(" "):
        words.append(word)
        length += len(word) + 1
        if length >= num_characters:
            pieces.append(" ".join(words))
            words, length = [], 0
    # A rest that is too short to judge counts only where it is all there is.
    if words and (length >= num_characters / 2 or not pieces):
        pieces.append(" ".join(words))
    return [piece for piece in pieces if piece.strip()]


def _spread(items: list[str], num: int) -> list[str]:
    """Takes `num` items at even distances, or all where there are fewer."""
    if len(items) <= num:
        return items
    return [items[i * len(items) // num] for i in range(num)]


def _round_robin(lists: list[list[str]]) -> list[str]:
    longest = max((len(items) for items in lists), default=0)
    return [items[i] for i in range(longest) for items in lists if i < len(items)]
