from collections import Counter

import pytest

from tutelage.capabilities import Completion, Sampling
from tutelage.generate.labelled import report_lines, write_labelled
from tutelage.measure import per_class
from tutelage.prompts.tutoring import LabelledItem
from tutelage.records import Prompt


class Writer:
    """Replies in turn; counts the samples asked of it."""

    def __init__(self, *replies):
        self.replies, self.asked = list(replies), Counter()

    def generate(self, prompts, sampling):
        found = []
        for prompt in prompts:
            self.asked[prompt.text] += sampling.n
            found.append([Completion(text=self.replies.pop(0) if self.replies else "") for _ in range(sampling.n)])
        self.seeds = [*getattr(self, "seeds", []), sampling.seed]
        return found


def read(text):
    return [LabelledItem(*line.split("|")) for line in text.splitlines() if "|" in line]


def write(writer, **changes):
    given = {
        "render": lambda count: Prompt.user(f"write {count}"), "read": read, "labels": ("a", "b"), "wanted": 4, "per_call": 2,
        "sampling": Sampling(max_tokens=50, temperature=0.7, seed=5), "teacher_id": "t",
    }  # fmt: skip
    return write_labelled(writer, **{**given, **changes})


def test_texts_are_asked_for_by_the_call_and_missing_ones_once_more():
    writer = Writer("one|a\ntwo|b", "three|z\nONE |a", "four|b", "five|a")
    done = write(writer, known=["Five"], skill="s")
    assert [(p.text, p.answer, p.skill) for p in done.problems] == [("one", "a", "s"), ("two", "b", "s"), ("four", "b", "s")]
    assert writer.asked == {"write 2": 3}, "two calls at first, one for the two that are missing"
    assert writer.seeds == [5, 6], "asking again draws anew"
    assert done.dropped == {"no such label": 1, "known already": 1}
    assert (done.calls, done.asked, done.parsed) == (3, 6, 5)
    assert {p.origin.model for p in done.problems if p.origin} == {"t"}


def test_unreadable_refused_and_surplus_texts_are_counted():
    writer = Writer("nothing", "x|a\ny|b\nz|a", "leak|a")
    done = write(writer, wanted=2, per_call=1, refuse=lambda texts: ["leak: equal" if t in ("leak", "x") else None for t in texts])
    assert [p.text for p in done.problems] == ["y", "z"]
    assert done.dropped == {"reply without a readable item": 1, "leak: equal": 1}
    more = write(Writer("x|a\ny|b\nz|a\nw|b\nv|a"), per_call=4)
    assert more.dropped == {"beyond the number wanted": 1}
    assert (more.asked, more.parsed, len(more.problems)) == (5, 5, 4)


def test_nothing_wanted_asks_nothing():
    writer = Writer()
    assert write(writer, wanted=0).calls == 0
    assert writer.asked == {}


def test_the_report_names_every_class_and_says_what_is_undefined():
    text = report_lines(per_class(["a", "a", "b"], ["a", "b", "b"], ("a", "b", "c d")))
    assert text.splitlines() == [
        "a: 2 texts, predicted 1, precision 1.00, recall 0.50, F1 0.67",
        "b: 1 texts, predicted 2, precision 0.50, recall 1.00, F1 0.67",
        "c d: 0 texts, predicted 0, precision undefined, recall undefined, F1 undefined",
        "all: accuracy 0.67, macro F1 0.67, weighted F1 0.67",
    ]


@pytest.mark.parametrize("again", [0, 2])
def test_how_often_is_asked_again(again):
    writer = Writer()
    assert write(writer, wanted=2, again=again).problems == []
    assert writer.asked == {"write 2": 1 + again}
