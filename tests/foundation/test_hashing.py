import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import InternalError
from tutelage.hashing import DIGEST_BYTES, TAG, canonical, content_id, digest

leaf = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
)
tree = st.recursive(
    leaf,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4),
    max_leaves=15,
)


def test_the_form_is_fixed_for_ever():
    # A change of these bytes would change every id and every cache key. The hash is that of `b2sum -l 128`.
    assert canonical({"b": [1, 2.5, None, True], "a": "é\n"}) == '{"a":"é\\n","b":[1,2.5,null,true]}'.encode()
    assert content_id(["Problem", {"text": "q"}]) == "b2-166843595e6a71a53d93b1d8cb11dc9b"
    assert (TAG, DIGEST_BYTES) == ("b2", 16)


@given(tree)
def test_canonical_json_is_json_and_loses_nothing(value):
    assert json.loads(canonical(value)) == value


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), leaf, min_size=2), st.randoms())
def test_the_order_of_keys_does_not_matter(value, rng):
    items = list(value.items())
    rng.shuffle(items)
    assert canonical(dict(items)) == canonical(value)
    assert content_id({"outer": dict(items)}) == content_id({"outer": value})


@given(tree, tree)
def test_different_values_have_different_ids(a, b):
    assert (content_id(a) == content_id(b)) == (canonical(a) == canonical(b))


def test_tuples_and_lists_are_the_same_sequence():
    assert canonical((1, ("a",))) == canonical([1, ["a"]])


def test_id_and_digest_are_the_same_hash():
    value = {"a": 1}
    assert content_id(value) == f"{TAG}-{digest(value).hex()}"
    assert len(digest(value)) == DIGEST_BYTES


def test_numbers_without_a_json_form_become_null():
    assert canonical([math.nan, math.inf, -math.inf]) == b"[null,null,null]"


@pytest.mark.parametrize(
    "value",
    [{1, 2}, object(), {3: "a"}, "\ud800", 2**70, b"bytes", {"deep": [{4, 5}]}],
    ids=["set", "object", "integer key", "surrogate", "large integer", "bytes", "deep set"],
)
def test_what_json_cannot_hold_is_refused_with_the_value(value):
    with pytest.raises(InternalError, match="canonical JSON") as refusal:
        canonical(value)
    assert refusal.value.got == repr(value)[:200]
    assert refusal.value.fix
