import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.report.plot import accuracy_plot, difference_plot, sparkline
from tutelage.report.text import finite, listed, metric_words, number, p_value, percent, plain, points, ratio, seconds


def test_numbers_as_people_read_them():
    assert (percent(0.4567), percent(None), percent(1)) == ("45.7 %", "–", "100.0 %")
    assert (points(0.0456), points(-0.0456), points(0.0), points(-0.0001), points(None)) == ("+4.6", "−4.6", "0.0", "0.0", "–")
    assert (number(1234567), number(12.5), number(3.0), number(0), number(None)) == ("1\u202f234\u202f567", "12.5", "3", "0", "–")
    assert (seconds(3.21), seconds(75), seconds(600), seconds(9000), seconds(None)) == ("3.2 s", "75 s", "10 min", "2.5 h", "–")
    assert (ratio(-0.123), ratio(None), p_value(0.0001), p_value(0.25), p_value(None)) == ("−0.12", "–", "< 0.001", "0.250", "–")
    assert (listed([]), listed(["a"]), listed(["a", "b", "c"])) == ("", "a", "a, b and c")


def test_metrics_in_words():
    assert metric_words("accuracy, 0-shot") == "Accuracy with no example in view (0-shot)"
    assert metric_words("teacher: accuracy, 3-shot") == "Teacher: accuracy with 3 examples in view (3-shot)"
    assert metric_words("F1") == "F1"


@pytest.mark.parametrize("value", [math.nan, math.inf, True, "1", None, []])
def test_only_numbers_are_numbers(value):
    assert finite(value) is None


def test_invisible_characters_become_visible_and_long_text_is_cut():
    assert plain("a\u202eb\u200bc\x00d\re\nf\tg\ue000") == "a⟨U+202E⟩b⟨U+200B⟩c␀d␍e\nf\tg⟨U+E000⟩"
    assert plain("abcdef", longest=4) == "abcd … [2 more characters]"
    assert plain("日本語 ümlaut 😀") == "日本語 ümlaut 😀"


share = st.floats(0, 1)


@settings(deadline=None)
@given(st.lists(st.lists(share, min_size=1, max_size=4), min_size=1, max_size=5), st.none() | share)
def test_every_mark_of_a_plot_lies_on_it(arms, chance):
    def body(values, to):
        mean = sum(values) / len(values)
        low, high = (max(0.0, mean - 0.1), min(1.0, mean + 0.1)) if len(values) > 1 else (None, None)
        d = (
            {
                "mean": mean - 0.5,
                "low": None if low is None else low - 0.5,
                "high": None if high is None else high - 0.5,
                "n": len(values),
                "over": "seeds",
                "values": {i: v - 0.5 for i, v in enumerate(values)},
            }
            if to
            else None
        )
        return {
            "mean": mean,
            "low": low,
            "high": high,
            "n": len(values),
            "over": "seeds",
            "values": dict(enumerate(values)),
            "difference": d,
        }

    summary = {
        "system": "arm 0",
        "baseline": "arm 1",
        "arms": [{"name": f"arm {i}", "summary": "", "control": False, "metrics": {"m": body(v, i != 1)}} for i, v in enumerate(arms)],
    }
    for plot in (accuracy_plot(summary, "m", chance=chance), difference_plot(summary, "m")):
        assert plot is not None
        assert 2 <= len(plot.ticks) <= 9
        for at in (
            *(t for t, _ in plot.ticks),
            *(x for x, _ in plot.lines),
            *(v for r in plot.rows for v in (r.at, *r.dots, r.low, r.high) if v is not None),
        ):
            assert -0.01 <= at <= 100.01
        for r in plot.rows:
            assert r.low is None or r.low <= r.at + 0.011 <= r.high + 0.022


def test_no_plot_of_nothing():
    empty = {"system": None, "baseline": None, "arms": []}
    assert accuracy_plot(empty, "m", chance=0.5) is None
    assert difference_plot(empty, "m") is None


def test_sparklines_keep_first_and_last():
    assert sparkline([1.0]) == ""
    line = sparkline([float(k) for k in range(500)], most=50).split()
    assert len(line) <= 52
    assert (line[0], line[-1]) == ("0.0,22.0", "100.0,2.0")
    assert sparkline([1.0, 1.0]) == "0.0,22.0 100.0,22.0"
