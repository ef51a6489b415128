import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import SettingsError
from tutelage.measure import macro_f1, per_class

LABELS = ("a", "b", "c", "d")


def test_a_report_worked_by_hand():
    report = per_class(["a", "a", "a", "b", "b", "c"], ["a", "a", "b", "b", "c", "b"], LABELS)
    a, b, c, d = report.classes
    assert (a.support, a.predicted, a.right) == (3, 2, 2)
    assert (a.precision, a.recall, a.f1) == (1.0, pytest.approx(2 / 3), pytest.approx(0.8))
    assert (b.precision, b.recall, b.f1) == (pytest.approx(1 / 3), 0.5, pytest.approx(0.4))
    assert (c.precision, c.recall, c.f1) == (0.0, 0.0, 0.0)
    assert (d.precision, d.recall, d.f1) == (None, None, None)
    assert report.accuracy == 0.5
    assert report.macro_f1 == pytest.approx(0.4)
    assert report.weighted_f1 == pytest.approx((3 * 0.8 + 2 * 0.4) / 6)


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS))))
def test_a_report_agrees_with_the_single_numbers(rows):
    gold, said = [g for g, _ in rows], [s for _, s in rows]
    report = per_class(gold, said, LABELS)
    assert report.macro_f1 == (None if not rows else pytest.approx(macro_f1(gold, said)))
    assert sum(c.support for c in report.classes) == sum(c.predicted for c in report.classes) == len(rows)
    assert report.accuracy == (None if not rows else sum(g == s for g, s in rows) / len(rows))


def test_what_is_no_label_is_refused():
    with pytest.raises(SettingsError, match="not among the labels"):
        per_class(["a"], ["z"], LABELS)
    with pytest.raises(SettingsError, match="one prediction per row"):
        per_class(["a"], [], LABELS)
