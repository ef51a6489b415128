"""Styles are recognised where they can be, and not claimed where they cannot."""

import random

import pytest

from tutelage.report.styles import learn_styles, style_shares


def drafts(rng, questions=20):
    out = []
    for q in range(questions):
        a, b = rng.randrange(100), rng.randrange(100)
        out += [
            (f"q{q}", "steps", f"First {a}, then {b}. So {a} and {b} make {a + b}. <ans>{a + b}</ans>"),
            (f"q{q}", "bare", f"<ans>{a + b}</ans>"),
            (f"q{q}", "recall", f"Recall the rule of sums: add. {a} plus {b} is {a + b}. <ans>{a + b}</ans>"),
        ]
    return out


def test_unlabelled_texts_are_counted_by_the_style_they_are_written_in():
    learned = learn_styles(drafts(random.Random(0)))
    assert learned is not None
    assert learned.held_out == 1.0
    texts = ["First 7, then 9. So 7 and 9 make 16. <ans>16</ans>"] * 3 + ["<ans>4</ans>"]
    assert style_shares(learned, texts) == [("steps", 0.75), ("bare", 0.25)]


def test_labels_that_words_do_not_show_are_not_claimed():
    rng = random.Random(1)
    mixed = [(q, rng.choice(["a", "b"]), text) for q, _, text in drafts(rng)]
    assert learn_styles(mixed) is None


@pytest.mark.parametrize("few", [[], [("q", "a", "x")], [("q", "a", "x"), ("q", "b", "y")], [("q", "a", "x"), ("r", "a", "y")]])
def test_too_few_styles_or_questions(few):
    assert learn_styles(few) is None


def test_the_order_of_drafts_within_a_question_does_not_matter():
    rows = drafts(random.Random(2))
    turned = sorted(rows, key=lambda r: (int(r[0][1:]), r[1]))
    one, other = learn_styles(rows), learn_styles(turned)
    assert one is not None
    assert other is not None
    assert one.held_out == other.held_out
    assert [one.of(t) for _, _, t in rows] == [other.of(t) for _, _, t in rows]
