from hypothesis import given
from hypothesis import strategies as st

from tutelage.select.agreement import agreement, majority_text

TEXTS = st.lists(st.lists(st.sampled_from(["a yes", "a no", "b yes"]), min_size=1, max_size=4).map(" ; ".join), max_size=5)


def test_a_text_that_says_what_the_others_say_agrees_most():
    texts = ["a yes ; b yes", "a yes ; b no", "a yes ; b yes"]
    assert agreement(texts) == [0.75, 0.5, 0.75]
    assert agreement(["a yes"]) == [0.0]
    assert agreement([]) == []
    assert agreement(["a yes", "a yes ; b yes"]) == [0.5, 0.5]


def test_the_vote_is_taken_part_by_part():
    assert majority_text(["a yes ; b yes", "a yes ; b no", "a no ; b yes"]) == "a yes ; b yes"
    assert majority_text(["a yes ; b yes ; c yes", "a yes ; b no", "a yes ; b no"]) == "a yes ; b no"
    assert majority_text([]) is None


@given(TEXTS)
def test_permuting_the_texts_permutes_the_agreement(texts):
    found = agreement(texts)
    assert agreement(texts[::-1]) == found[::-1]
    assert all(0 <= x <= 1 for x in found)
    if len(set(texts)) == 1 and len(texts) > 1:
        assert found == [1.0] * len(texts)
        assert majority_text(texts) == texts[0]
