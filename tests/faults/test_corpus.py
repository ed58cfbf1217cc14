"""Faults of reading a corpus that were found by trying, one test each."""

from typing import Any

import numpy as np
import pytest

from whence.records import Corpus


def corpus_of(texts: list[str], **columns: list[Any]) -> Corpus:
    """A corpus of some texts, with their bytes as tokens."""
    import pyarrow as pa

    from whence.corpus import schema

    size = len(texts)
    usual: dict[str, list[Any]] = {
        "id": [str(i) for i in range(size)],
        "text": texts,
        "hash": [""] * size,
        "subset": [None] * size,
        "source": ["test"] * size,
        "position": list(range(size)),
        "step": [None] * size,
        "input_ids": [list(text.encode()) for text in texts],
        "num_truncated_tokens": [0] * size,
        "labels": [None] * size,
    }
    return Corpus("test", "a test", pa.table(usual | columns, schema=schema()))


@pytest.mark.parametrize("method", ["bm25", "tfidf"])
@pytest.mark.parametrize(
    ("texts", "query"),
    [
        (["法国的首都是巴黎，人口很多。", "今天的天气非常好。", "他在学校里读书。"], "首都是巴黎"),
        (["เมืองหลวงของฝรั่งเศสคือปารีส", "วันนี้อากาศดีมาก", "เขาอ่านหนังสือที่โรงเรียน"], "ปารีส"),
        (["फ़्रांस की राजधानी पेरिस है", "आज मौसम अच्छा है", "वह किताब पढ़ता है"], "पेरिस"),
        (["フランスの首都はパリです", "今日は天気がいい", "彼は本を読む"], "首都はパリ"),
    ],
    ids=["chinese", "thai", "hindi", "japanese"],
)
def test_plain_search_is_blind_in_scripts_without_spaces_or_with_marks(
    method: str, texts: list[str], query: str
) -> None:
    from whence.methods import Inputs, score
    from whence.records import Query
    from whence.settings import AttributionSettings

    asked = (Query("q", (), query),)
    found = score(method, Inputs(asked, corpus_of(texts), None, {}, AttributionSettings()))
    assert found.values[0, 0] > 0
    assert np.argmax(found.values[0]) == 0
