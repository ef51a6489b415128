import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import SettingsError
from tutelage.records import Problem
from tutelage.seeds import stream
from tutelage.select.skew import skewed
from tutelage.select.thresholds import MovingThresholds, among_top, reaching, weights_of


def test_a_hand_worked_move():
    bars = MovingThresholds.begun(3, decay=0.5, level=0.2).after([0.8, 0.4, 0.6], [0, 1, 0])
    assert bars.level == pytest.approx(0.5 * 0.2 + 0.5 * 0.6)
    assert bars.means[0] == pytest.approx(0.5 * 0.2 + 0.5 * 0.7)
    assert bars.means[1] == pytest.approx(0.5 * 0.2 + 0.5 * 0.4)
    assert bars.means[2] is None
    assert bars.of(0) == pytest.approx(0.4), "the class with the highest mean has the level as its bar"
    assert bars.of(1) == pytest.approx(0.4 * 0.3 / 0.45)
    assert bars.of(2) == pytest.approx(0.4), "a class that was never seen is not let through"
    later = bars.after([1.0], [1])
    assert later.means[0] == bars.means[0], "the mean of an absent class stays"
    assert later.of(1) > later.of(0)


def test_without_classes_and_without_rows():
    one = MovingThresholds.begun(2, decay=0.5, level=0.4, by_class=False).after([1.0, 0.0], [0, 1])
    assert one.of(0) == one.of(1) == one.level == pytest.approx(0.45)
    assert one.after([], []) is one
    assert MovingThresholds.begun(2, decay=0.0, level=0.0).after([0.0], [0]).of(0) == 0.0
    with pytest.raises(SettingsError, match="decay"):
        MovingThresholds.begun(2, decay=1.0, level=0.0)


def test_a_low_class_is_not_starved():
    bars = MovingThresholds.begun(2, decay=0.0, level=0.0).after([0.9, 0.9, 0.3, 0.3], [0, 0, 1, 1])
    assert reaching([0.5, 0.5], [0, 1], bars) == [False, True]
    assert reaching([bars.of(0)], [0], bars) == [True], "a row at the threshold passes"


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3)), max_size=40))
def test_no_bar_is_above_the_level_and_order_within_a_batch_does_not_matter(rows):
    values, classes = [v for v, _ in rows], [c for _, c in rows]
    bars = MovingThresholds.begun(4, decay=0.9, level=0.25).after(values, classes)
    assert all(0 <= bars.of(c) <= bars.level + 1e-12 for c in range(4))
    turned = MovingThresholds.begun(4, decay=0.9, level=0.25).after(values[::-1], classes[::-1])
    assert [turned.of(c) for c in range(4)] == pytest.approx([bars.of(c) for c in range(4)])


def test_weights_have_mean_one_and_grow_with_both_signals():
    assert weights_of([0.5, 1.0], [0.5, 0.0]) == [1.0, 1.0]
    low, high = weights_of([0.2, 0.6], [0.1, 0.3])
    assert (low + high) / 2 == pytest.approx(1.0)
    assert high == pytest.approx(3 * low)
    assert weights_of([0.0, 0.0]) == [1.0, 1.0]
    assert weights_of([], []) == []


def rows(per_class):
    return [Problem(text=f"{label} {i}", answer=label) for label, n in per_class.items() for i in range(n)]


def test_skewed_rows_have_every_class_and_common_and_rare_ones():
    problems = rows(dict.fromkeys("abcdefghij", 60))
    found = skewed(problems, wanted=200, exponent=1.0, rng=stream(0, "skew"))
    assert len(found) == len({p.id for p in found}) == 200
    counts = sorted(sum(p.answer == label for p in found) for label in "abcdefghij")
    assert counts[0] >= 1
    assert counts[-1] > 3 * counts[0]
    even = skewed(problems, wanted=200, exponent=0.0, rng=stream(0, "skew"))
    assert max(sum(p.answer == label for p in even) for label in "abcdefghij") < 40
    assert skewed(problems, wanted=200, exponent=1.0, rng=stream(0, "skew")) == found
    assert {p.answer for p in found} == set("abcdefghij")


def test_skewed_rows_end_where_the_problems_do():
    assert len(skewed(rows({"a": 2, "b": 1}), wanted=10, exponent=2.0, rng=stream(0, "x"))) == 3
    assert len(skewed(rows({"a": 2, "b": 1}), wanted=1, exponent=2.0, rng=stream(0, "x"))) == 1
    assert skewed([], wanted=4, exponent=1.0, rng=stream(0, "x")) == []
    with pytest.raises(SettingsError, match="exponent"):
        skewed(rows({"a": 1}), wanted=1, exponent=-1.0, rng=stream(0, "x"))


def test_the_top_share_is_rounded_up_and_takes_all_of_equals():
    assert among_top([0.1, 0.9, 0.5], 0.5) == [False, True, True]
    assert among_top([0.5, 0.5, 0.1], 0.1) == [True, True, False]
    assert among_top([0.3], 0.01) == [True]
    assert among_top([], 0.5) == []
