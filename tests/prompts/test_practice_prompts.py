import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.prompts import practice
from tutelage.prompts.dialects import BBH, DIALECTS, ENGLISH, FOLDS
from tutelage.prompts.practice import WorkedItem, parse_items, render_lookalikes, render_practice, write_items
from tutelage.tasks import open_task
from tutelage.verify.extract import final_answer

REPLIES = Path(__file__).parent / "practice_replies"

EXPECTED = {
    "01_code_fence_and_chatter.txt": [
        (
            "A baker makes 14 rolls at dawn and twice as many later. How many in all?",
            "Later: 2 * 14 = 28. In all: 14 + 28 = 42. <ans>42</ans>",
        ),
        ("Ines reads 18 pages, then 7 fewer. How many pages?", "18 - 7 = 11 and 18 + 11 = 29. <ans>29</ans>"),
    ],
    "02_cut_off_last_item.txt": [("There are 9 boats with 6 people each. How many people?", "9 * 6 = 54 <ans>54</ans>")],
    "03_cut_off_in_the_middle.txt": [("Half of a number is 17. What is it?", "Twice 17 is 34. <ans>34</ans>")],
    "04_solution_without_question.txt": [],
    "05_marks_only.txt": [("Is 3 < 5 & 5 < 4?", "3 < 5 holds, 5 < 4 does not: <b>no</b>. <ans>no</ans>")],
    "06_windows_newlines.txt": [("Line one.\nHow many lines?", "One, two.\n<ans>2</ans>")],
    "07_refusal.txt": [],
    "08_json_instead.txt": [],
    "09_numbered_layout_of_the_paper.txt": [],
    "10_other_languages.txt": [
        ("小明有 12 颗糖，给了妹妹一半。他还剩几颗？", "12 ÷ 2 = 6。 <ans>6</ans>"),
        ("Anna hat 3 Äpfel und kauft 4 dazu. Wie viele hat sie?", "3 + 4 = 7 <ans>7</ans>"),
    ],
    "11_folds_clean.txt": [("last digit of sum Sun 6 Mon 0 Tue 8 ?", "Sun 6 6 ; Mon 0 6 ; Tue 8 4 => 4")],
    "12_folds_ugly.txt": [("ball a swap Mon ab Tue bc Wed ab ?", "Mon ab b ; Tue bc c ; Wed ab c => c")],
}


def dialect_of(name):
    return FOLDS if "folds" in name else ENGLISH


def test_every_reply_has_an_expectation():
    assert {p.name for p in REPLIES.iterdir()} == set(EXPECTED)
    assert len(EXPECTED) == 12


@pytest.mark.parametrize("name", EXPECTED)
def test_an_ugly_reply_gives_its_complete_items_and_nothing_else(name):
    found = parse_items(dialect_of(name), (REPLIES / name).read_bytes().decode())
    assert [(item.question, item.solution) for item in found] == EXPECTED[name]


tags = st.lists(
    st.sampled_from(("<question>", "</question>", "<solution>", "</solution>", "Q : ", "A : ", "?", "\n", "a", " ", "Q: ", "A: ")),
    max_size=60,
).map("".join)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda d: d.name)
@given(text=st.text(max_size=200) | tags)
def test_no_text_makes_the_parser_raise_and_no_item_is_empty_or_holds_tags_of_the_form(dialect, text):
    for item in parse_items(dialect, text):
        assert item.question.strip() == item.question != ""
        assert item.solution.strip() == item.solution != ""
        if dialect is ENGLISH:
            assert not re.search(r"</?(question|solution|item)\b", item.question + item.solution, re.IGNORECASE)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("dialect", "reply"),
    [
        (ENGLISH, "<question> " * 500 + " " * 40_000 + "x" * 40_000),
        (ENGLISH, "<question>q</question>" + " " * 100_000),
        (ENGLISH, "<question>q</question><solution>" + "<b" * 50_000),
        (FOLDS, "Q : " + "last digit " * 10_000),
        (FOLDS, "Q : " * 20_000),
        (FOLDS, "\n" * 100_000),
        (BBH, "Q: " + "word " * 20_000),
    ],
)
def test_a_runaway_reply_is_read_to_its_end(dialect, reply):
    assert parse_items(dialect, reply) == []


# -- round trips ---------------------------------------------------------------------------------------------------------------

line = (
    st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp"), exclude_characters="<>&?"), min_size=1, max_size=40)
    .map(lambda t: " ".join(t.split()))
    .filter(lambda t: any(letter.isalnum() for letter in t))
)
pairs = st.lists(st.tuples(line, line), min_size=1, max_size=4)


@given(pairs)
def test_what_english_writes_it_reads(items):
    worked = [WorkedItem(q, s) for q, s in items]
    assert parse_items(ENGLISH, write_items(ENGLISH, worked)) == worked
    first, rest = worked[0], worked[1:]
    asked = render_lookalikes(
        ENGLISH, description="Sums.", answer_format="a number", question=first.question, solution=first.solution, count=2, kept=rest
    )
    assert parse_items(ENGLISH, asked.text) == worked
    shown = render_practice(ENGLISH, description="Sums.", answer_format="a number", shown=worked, missed=["m ?"], focus="carrying", count=2)
    assert parse_items(ENGLISH, shown.text) == worked


@given(pairs)
def test_what_folds_writes_it_reads(items):
    worked = [WorkedItem(f"{q} ?", s) for q, s in items if not q.startswith(("Q", "A"))]
    if worked:
        assert parse_items(FOLDS, write_items(FOLDS, worked)) == worked


@pytest.mark.parametrize("name", ["folds/*"])
def test_every_seed_of_the_bundled_world_survives_the_round_trip(name):
    worked = [WorkedItem(p.text, p.context["rationale"]) for p in open_task(name).seed]
    assert parse_items(FOLDS, write_items(FOLDS, worked)) == worked
    # The prompt ends where the next question begins, so a reply goes on after the mark of one.
    prompt = render_lookalikes(FOLDS, description="", answer_format="", question=worked[0].question, solution=worked[0].solution, count=1)
    assert prompt.text.endswith("\n\nQ :")
    assert parse_items(FOLDS, f"{prompt.text} {worked[1].question}\nA : {worked[1].solution}") == worked[:2]


# -- what the prompts say ------------------------------------------------------------------------------------------------------


def test_an_instruction_follower_is_told_the_rules_the_form_and_the_number():
    prompt = render_lookalikes(
        ENGLISH, description="Add two numbers.", answer_format="the sum in tags", question="2 + 2", solution="4", count=3
    )
    assert [m.role for m in prompt.messages] == ["system", "user"]
    assert "Add two numbers." in prompt.messages[0].content
    assert "the sum in tags" in prompt.messages[0].content
    assert "Write 3 similar problems" in prompt.messages[1].content
    assert prompt.kind == "practice.lookalikes"


def test_what_was_kept_stands_as_the_tutors_own_reply():
    kept = [WorkedItem("3 + 3", "6")]
    prompt = render_lookalikes(ENGLISH, description="", answer_format="x", question="2 + 2", solution="4", count=2, kept=kept)
    assert [m.role for m in prompt.messages] == ["system", "user", "assistant", "user"]
    assert parse_items(ENGLISH, prompt.messages[2].content) == kept
    assert "Write 2 more" in prompt.messages[3].content
    # A model that only goes on from questions has no turns to look back on.
    plain = render_lookalikes(FOLDS, description="", answer_format="", question="2 + 2 ?", solution="=> 4", count=2, kept=kept)
    assert [m.role for m in plain.messages] == ["user"]


def test_missed_questions_are_shown_without_a_solution_and_cannot_close_their_tag():
    prompt = render_practice(
        ENGLISH,
        description="",
        answer_format="x",
        shown=[WorkedItem("q", "s")],
        missed=["hard one</missed><missed>", "other"],
        focus="",
        count=4,
    )
    text = prompt.messages[-1].content
    assert text.count("<missed>") == text.count("</missed>") == 2
    assert "Work on this" not in text
    assert "Write 4 new problems" in text
    assert prompt.kind == "practice.practice"


def test_braces_in_a_users_text_are_not_fields():
    prompt = render_lookalikes(ENGLISH, description="{d}", answer_format="{a}", question="{question}", solution="{0}", count=1)
    assert "{question}" in prompt.text
    assert "{0}" in prompt.text
    assert "{d}" in prompt.text


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda d: d.name)
def test_every_field_of_every_template_is_one_that_its_renderer_fills(dialect):
    fields = {
        "worked_item": {"question", "solution"},
        "tutor": {"description", "answer_format"},
        "lookalikes": {"item", "count"},
        "more_lookalikes": {"count"},
        "practice": {"items", "missed", "focus", "count"},
    }
    for name, known in fields.items():
        assert set(re.findall(r"{(\w+)}", getattr(dialect, name))) <= known, name
    assert {"question", "solution"} <= set(re.compile(dialect.worked_pattern).groupindex)


def test_the_example_parses_differs_by_serial_and_its_answers_can_be_read():
    items = parse_items(ENGLISH, practice.example(serial=1))
    assert len(items) == 3
    assert not {i.question for i in items} & {i.question for i in parse_items(ENGLISH, practice.example(serial=2))}
    assert [final_answer(i.solution).value for i in items] == ["18", "22", "26"]
