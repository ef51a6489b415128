"""Phrases by function words and punctuation."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.select.phrases import phrases


def parts(text):
    return [text[a:b] for a, b in phrases(text)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The price of three lamps is 12.", ["The price", "of three lamps", "is 12"]),
        ("Mon 8 8 ; Tue 3 1 => 1", ["Mon 8 8", "Tue 3 1", "1"]),
        ("First line\nsecond line", ["First line", "second line"]),
        ("a well-known author's book, in the attic", ["a well-known author's book", "in the attic"]),
        ("x = 3*y", ["x", "3", "y"]),
        ("", []),
        (" ... ", []),
        ("of the", ["of the"]),
        ("Der Preis, den er nennt", ["Der Preis", "den er nennt"]),
        ("東京 は 大きい。", ["東京 は 大きい"]),
    ],
)
def test_texts(text, wanted):
    assert parts(text) == wanted


@given(st.text(max_size=60))
def test_phrases_are_in_order_apart_and_hold_every_word(text):
    found = phrases(text)
    assert all(a < b for a, b in found)
    assert all(b <= c for (_, b), (c, _) in pairwise(found))
    outside = set(range(len(text))) - {i for a, b in found for i in range(a, b)}
    assert not [i for i in outside if text[i].isalnum()]
