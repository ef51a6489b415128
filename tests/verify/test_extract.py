from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.records import Problem
from tutelage.verify import verifier, verifier_names
from tutelage.verify.choice import choice, listed_options
from tutelage.verify.exact import exact
from tutelage.verify.extract import final_answer

FOUND = [
    ("<ans>42</ans>", "42", "tag"),
    ("<ans>1</ans> no, wait: <ans> 42 </ans>", "42", "tag"),
    ("Give it between <ans> and </ans>. So: <ANSWER>42</ANSWER>", "42", "tag"),
    ("steps\n<ans>42", "42", "tag"),
    ("<ans>41</ans> and then <ans>42\nmore", "42", "tag"),
    ("so \\boxed{\\frac{1}{2}} it is", "\\frac{1}{2}", "boxed"),
    ("\\boxed{1} then $\\boxed{{a}_{b}}$", "{a}_{b}", "boxed"),
    ("work\n#### 42", "42", "hashes"),
    ("#### 41\n#### 42\nHope this helps!", "42", "hashes"),
    ("#### Step 1\na\nb\nc\nThe answer is 42.", "42", "phrase"),
    ("Answer: 42", "42", "label"),
    ("**Final Answer:** 42.", "42", "label"),
    ("The final answer: **42**", "42", "label"),
    ("Answer:\n42", "42", "label"),
    ("work\nA: 42", "42", "label"),
    ("A: 41\nso\nA : 42", "42", "label"),
    ("So the answer is 42. I am sure.", "42", "phrase"),
    ("the correct answer is: (B)", "(B)", "phrase"),
    ("The answer is 3.5.", "3.5", "phrase"),
    ("The answer should be 42!", "42", "phrase"),
    ("The answer is 41. No: the answer is not 41. The answer is 42", "42", "phrase"),
    ("then\n6 * 7 => 42", "42", "arrow"),
    ("a -> b -> 42", "42", "arrow"),
    ("42", "42", "bare"),
    ("  `42`  ", "42", "bare"),
    ("<think>The answer is 41.</think>The answer is 42.", "42", "phrase"),
    ("<think>x</think>\n42", "42", "bare"),
]
NOT_FOUND = [
    "",
    "   \n ",
    "one\ntwo",
    "<ans></ans>",
    "<think>the answer is 42",
    "x" * 300,
    "The answer is not 42.\nIt is something else entirely.",
    "A: first\nB: second\nwhich?",
    "\\boxed{unclosed\nline",
]


@pytest.mark.parametrize(("text", "value", "rule"), FOUND)
def test_answers_and_the_rule_that_found_them(text, value, rule):
    found = final_answer(text)
    assert found is not None
    assert (found.value, found.rule) == (value, rule)


@pytest.mark.parametrize("text", NOT_FOUND)
def test_unparsed(text):
    assert final_answer(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "a" * 500_000,
        "=> " * 100_000,
        "<ans>" * 50_000,
        "\\boxed{" * 50_000,
        "the answer is " * 30_000,
        "#### " * 50_000,
        "A:" * 100_000,
        "(" * 200_000,
        "**" * 100_000,
        "<ans>" + "**" * 50_000 + "</ans>",
        "1," * 100_000,
        "Answer: " + "*" * 100_000,
        "1 " * 100_000,
        "-" * 100_000 + "\n" + "- " * 50_000,
    ],
)
def test_runaway_texts_do_not_cost_seconds(text):
    """The suite's own time limit is the check: a quadratic rule would take minutes here."""
    problem = Problem(text="q", answer="43", choices=("42", "43"))
    for name in ("exact", "choice", "numeric"):
        assert verifier(name)(problem, text).score == 0


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8") | st.sampled_from(list("<ans>/\\boxed{}#:=.()ABC0123456789 \n$%*-"))))
def test_no_text_makes_a_verifier_raise(text):
    problem = Problem(text="q", answer="(B)", choices=("yes", "no", "it depends"))
    for name in ("exact", "choice", "numeric"):
        verdict = verifier(name)(problem, text)
        assert 0 <= verdict.score <= 1
        assert verdict.parsed or verdict.score == 0


LETTERS = Problem(text="q", answer="(B)", choices=("red", "dark blue", "blue"))
WORDS = Problem(text="q", answer="Yes", choices=("Yes", "No"))


@pytest.mark.parametrize(
    ("problem", "text", "outcome"),
    [
        (LETTERS, "<ans>(B)</ans>", "(B)"),
        (LETTERS, "<ans>B</ans>", "(B)"),
        (LETTERS, "<ans>b</ans>", "(B)"),
        (LETTERS, "<ans>B.</ans>", "(B)"),
        (LETTERS, "<ans>(B) dark blue</ans>", "(B)"),
        (LETTERS, "<ans>B: dark blue</ans>", "(B)"),
        (LETTERS, "<ans>dark blue</ans>", "(B)"),
        (LETTERS, "<ans>Option B</ans>", "(B)"),
        (LETTERS, "<ans>[B]</ans>", "(B)"),
        (LETTERS, "The answer is Dark Blue.", "(B)"),
        (LETTERS, "The answer is the dark blue one.", "(B)"),
        (LETTERS, "<ans>blue</ans>", "(C)"),
        (LETTERS, "<ans>(A)</ans>", "(A)"),
        (LETTERS, "Let me see.\nSo it must be (B).", "(B)"),
        (LETTERS, "first\n(B)", "(B)"),
        (LETTERS, "<ans>(A) or (B)</ans>", None),
        (LETTERS, "<ans>red or dark blue</ans>", None),
        (LETTERS, "<ans>(Z)</ans>", None),
        (LETTERS, "<ans>green</ans>", None),
        (LETTERS, "", None),
        (LETTERS, "<ans>A red thing</ans>", "(A)"),
        (LETTERS, "<ans>not red</ans>", None),
        (LETTERS, "(A) is out.\nBetween (B) and (C)", None),
        (WORDS, "<ans>yes</ans>", "Yes"),
        (WORDS, "So the answer is Yes, because it is.", "Yes"),
        (WORDS, "The answer is No.", "No"),
        (WORDS, "<ans>No, they do not</ans>", "No"),
        (WORDS, "<ans>yes and no</ans>", None),
        (WORDS, "<ans>maybe</ans>", None),
        (WORDS, "**Yes**", "Yes"),
        (WORDS, "<ans>Y</ans>", None),
        (WORDS, "<ans>not yes</ans>", None),
        (WORDS, "<ans>Nobody</ans>", None),
    ],
)
def test_choices(problem, text, outcome):
    verdict = choice(problem, text)
    assert verdict.parsed == (outcome is not None), verdict
    if outcome is not None:
        assert verdict.extracted == outcome
        assert verdict.right == (outcome == problem.answer)


LISTED = "Which one is it?\nOptions:\n(A) red\n(B) dark blue\n(C) blue"


@pytest.mark.parametrize(
    ("question", "options"),
    [
        (LISTED, ("red", "dark blue", "blue")),
        ("Which one?\nOptions:\n- Yes\n- No", ("Yes", "No")),
        ("Which one? (A) red (B) dark blue (C) blue", ("red", "dark blue", "blue")),
        ("Which one?\nA. red\nB. dark blue", ("red", "dark blue")),
        ("Which one?\nA) red\nB) dark blue", ("red", "dark blue")),
        ("Is ( True ) and ( False ) true?", ()),
        ("Plan (A) was dropped.", ()),
        ("- a list\n- of other things", ()),
        ("Options:\n(B) red\n(C) blue", ()),
        ("", ()),
    ],
)
def test_options_are_read_from_a_question_that_lists_them(question, options):
    assert listed_options(question) == options


@pytest.mark.parametrize(
    ("text", "read"),
    [("<ans>(B)</ans>", "(B)"), ("<ans>C</ans>", "C"), ("<ans>dark blue</ans>", "dark blue"), ("<ans>green</ans>", None), ("", None)],
)
def test_a_written_question_gets_its_key_from_its_own_solution(text, read):
    """A model writes question and solution; the answer that its solution reaches becomes the key, which the same text then meets."""
    question = Problem(text=LISTED)
    verdict = choice(question, text)
    assert (verdict.extracted, verdict.parsed, verdict.score) == (read, False, 0.0)
    if read is not None:
        assert choice(replace(question, answer=read), text).right


def test_labels_serve_problems_without_a_key():
    known = partial(choice, choices=("card_lost", "pin_change"))
    assert known(Problem(text="my card is gone"), "<ans>card lost</ans>").extracted is None
    assert known(Problem(text="my card is gone"), "<ans>card_lost</ans>").extracted == "card_lost"


def test_exact_puts_aside_only_what_it_says():
    problem = Problem(text="q", answer="New  York")
    assert exact(problem, "<ans>new york.</ans>").right
    assert exact(problem, '"New York"').right
    assert not exact(problem, "<ans>New York City</ans>").right
    assert not exact(problem, "<ans>new york</ans>", case=True).right
    assert exact(Problem(text="q", answer="a b c"), "<ans>a, b, c</ans>", list_commas=True).right
    assert not exact(Problem(text="q", answer="a b c"), "<ans>a, b, c</ans>").right
    assert exact(Problem(text="q", answer="] } )"), "<ans>]})</ans>", spaces=False).right
    assert not exact(Problem(text="q"), "<ans>x</ans>").parsed


def test_verifiers_by_name():
    assert set(verifier_names()) >= {"exact", "choice", "numeric", "maths", "pattern", "json_schema", "constraints"}
    assert verifier("numeric", tolerance=0.1)(Problem(text="q", answer="10"), "10.5").right
