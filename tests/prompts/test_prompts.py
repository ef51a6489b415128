import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.prompts import dialects, questions, solve, techniques
from tutelage.prompts.dialects import DIALECTS, ENGLISH, FOLDS
from tutelage.prompts.questions import DraftedItem, parse_questions, render_questions
from tutelage.prompts.solve import render_plain, render_shots, render_technique
from tutelage.prompts.wording import Wording
from tutelage.records import Problem
from tutelage.tasks import open_task
from tutelage.verify.extract import final_answer

REPLIES = Path(__file__).parent / "replies"


def read(name: str) -> str:
    return (REPLIES / name).read_bytes().decode()


# -- ugly replies --------------------------------------------------------------------------------------------------------------

EXPECTED = {
    "01_code_fence_and_chatter.txt": [
        ("A bakery sells 14 rolls in the morning and twice as many after lunch. How many rolls does it sell that day?", "42"),
        ("Ines reads 18 pages on Monday and 7 fewer on Tuesday. How many pages has she read?", "29"),
    ],
    "02_cut_off_last_item.txt": [
        ("There are 9 boats with 6 people each. How many people are on the water?", "54"),
        ("A farmer has 112 apples and packs them into crates of 8. How many crates does he need?", "14"),
    ],
    "03_cut_off_item_in_the_middle.txt": [
        ("A pool holds 600 litres and loses 25 an hour. After how many hours is it empty?", "24"),
        ("Half of a number is 17. What is the number?", "34"),
    ],
    "04_repeats_the_request.txt": [("...", "..."), ("Tom has 5 marbles, wins 9 and gives 3 away. How many has he now?", "11")],
    "05_xml_entities.txt": [
        ('Is it true that 3 < 5 & 5 < 4? Answer "yes" or "no".', "no"),
        ("Which sign makes 7 _ 2 true? It's one of two.", ">"),
        ("The page at shop.example/?a=1&para=2 has how many parameters?", "2"),
    ],
    "06_windows_newlines.txt": [
        ("Line one of the question.\nHow many lines does it have?", "2"),
        ("How many cats are 3 cats?", "3"),
    ],
    "07_missing_targets.txt": [("How many sides have two triangles together?", "6")],
    "08_numbered_and_bold.txt": [
        ("A ticket costs 12 euros and a snack 4. What do three of each cost?", "48"),
        ("A rope of 30 metres is cut into 5 equal parts. How long is a part?", "6 metres"),
    ],
    "09_answers_with_tags_and_comparisons.txt": [
        ("Which is larger, 0.4 or 0.38? Write the comparison.", "0.38 < 0.4"),
        ("What does the tag <b> do to a text?", "it makes it bold"),
    ],
    "10_duplicates_and_other_languages.txt": [
        ("Anna hat 3 Äpfel und kauft 4 dazu. Wie viele Äpfel hat sie?", "7"),
        ("小明有 12 颗糖，给了妹妹一半。他还剩几颗？", "6"),
        ("كم عدد أيام الأسبوع؟", "7"),
        ("Anna hat 3 Äpfel und kauft 4 dazu. Wie viele Äpfel hat sie?", "7"),
    ],
    "11_refusal.txt": [],
    "12_thinking_first.txt": [("Three buses with 40 seats each are full. How many people sit in them?", "120")],
    "13_json_instead.txt": [],
    "14_folds_clean.txt": [
        ("last digit of sum Mon 8 Tue 3 Wed 5 ?", None),
        ("last digit of sum Thu 0 Fri 9 Sat 9 Sun 1 ?", None),
        ("last digit of sum Mon 2 Tue 2 Wed 2 ?", None),
    ],
    "15_folds_ugly.txt": [("last digit of sum Mon 8 Tue 3 Wed 5 ?", None), ("?", None), ("last digit of sum Mon 2 Tue 2 Wed 2 ?", None)],
}


def test_every_reply_has_an_expectation():
    assert {p.name for p in REPLIES.iterdir()} == set(EXPECTED)
    assert len(EXPECTED) == 15


@pytest.mark.parametrize("name", EXPECTED)
def test_an_ugly_reply_gives_its_complete_items_and_nothing_else(name):
    found = parse_questions(FOLDS if "folds" in name else ENGLISH, read(name))
    assert [(item.question, item.answer) for item in found] == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_reply_read_in_the_wrong_dialect_gives_nothing(name):
    assert parse_questions(ENGLISH if "folds" in name else FOLDS, read(name)) == []


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda d: d.name)
@given(
    text=st.text(max_size=200)
    | st.lists(st.sampled_from(("<input>", "</input>", "<target>", "</target>", "Q : ", "?", "\n", "a", " ")), max_size=60).map("".join)
)
def test_no_text_makes_the_parser_raise_and_no_item_is_empty_or_holds_tags_of_the_form(dialect, text):
    for item in parse_questions(dialect, text):
        assert item.question.strip() == item.question != ""
        assert item.answer is None or item.answer.strip() == item.answer != ""
        if dialect is ENGLISH and "&" not in text:
            assert not re.search(r"</?(input|target|example)\b", item.question + (item.answer or ""), re.IGNORECASE)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("dialect", "reply"),
    [
        (ENGLISH, "<input> " * 500 + " " * 40_000 + "x" * 40_000),
        (ENGLISH, "<input>" + "\n" * 100_000),
        (ENGLISH, "<input>q</input>" + " " * 100_000),
        (ENGLISH, "<input>q</input><target>" + "<b" * 50_000),
        (FOLDS, "Q : " + "last digit " * 10_000),
        (FOLDS, "\n" * 100_000),
    ],
)
def test_a_runaway_reply_is_read_to_its_end(dialect, reply):
    # A pattern with two open ends takes a time that grows with the square of the length, or worse: here minutes to hours.
    assert parse_questions(dialect, reply) == []


# -- round trips ---------------------------------------------------------------------------------------------------------------

words = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp"), exclude_characters="<>&"), min_size=1, max_size=40).map(
    lambda t: " ".join(t.split())
)
line = words.filter(bool)
english = st.lists(st.tuples(st.lists(line, min_size=1, max_size=3).map("\n".join), line), min_size=1, max_size=5)
folds = st.lists(words.map(lambda t: (t.replace("?", "") + " ?").strip()), min_size=1, max_size=5)


def wording(dialect):
    return Wording(dialect=dialect, description="Sums.", answer_format="the number after =>")


@given(english)
def test_what_english_renders_it_reads(items):
    problems = [Problem(text=q, answer=a) for q, a in items]
    shown = render_questions(ENGLISH, task="sums", description="Sums.", seeds=problems, count=2, first_id=3)
    assert parse_questions(ENGLISH, shown.text) == [DraftedItem(q, a) for q, a in items]
    reply = wording(ENGLISH).question_reply(problems, first_id=7)
    assert parse_questions(ENGLISH, reply) == [DraftedItem(q, a) for q, a in items]


@given(folds)
def test_what_folds_renders_it_reads(items):
    problems = [Problem(text=q) for q in items]
    shown = render_questions(FOLDS, task="msum", description="", seeds=problems, count=2, first_id=3)
    assert parse_questions(FOLDS, shown.text) == [DraftedItem(q, None) for q in items]
    assert parse_questions(FOLDS, wording(FOLDS).question_reply(problems)) == [DraftedItem(q, None) for q in items]


def test_every_question_of_the_bundled_world_survives_the_round_trip():
    task = open_task("folds/*")
    problems = [*task.seed, *task.validation]
    reply = wording(FOLDS).question_reply(problems)
    assert [item.question for item in parse_questions(FOLDS, reply)] == [p.text for p in problems]


def test_the_question_prompt_shows_the_seeds_numbered_and_says_where_to_go_on():
    seeds = [Problem(text="2 + 2", answer="4"), Problem(text="3 + 3")]
    prompt = render_questions(ENGLISH, task="sums", description="Add.", seeds=seeds, count=5, first_id=300)
    assert prompt.kind == "questions"
    assert "<example id=300>" in prompt.text
    assert "<example id=301>" in prompt.text
    assert prompt.text.endswith("number the examples from 302.")
    assert "Write 5 more" in prompt.text


def test_braces_in_a_users_question_are_not_fields():
    seeds = [Problem(text="What is {x} in {0} and {question}?", answer="{}")]
    assert (
        "What is {x} in {0} and {question}?"
        in render_questions(ENGLISH, task="{t}", description="{d}", seeds=seeds, count=1, first_id=1).text
    )
    assert "{a} {b}" in render_plain(ENGLISH, description="{d}", answer_format="{f}", question="{a} {b}").text


# -- asking for solutions ------------------------------------------------------------------------------------------------------

FACTS = {"description": "Sums.", "answer_format": "the number in tags"}


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda d: d.name)
@given(question=words)
def test_no_demonstration_gives_the_plain_prompt_to_the_letter(dialect, question):
    plain = render_plain(dialect, **FACTS, question=question)
    none = render_shots(dialect, **FACTS, demonstrations=[], question=question)
    assert none.id == plain.id
    assert none.text == plain.text


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda d: d.name)
@given(shown=st.lists(st.tuples(line, line), min_size=1, max_size=3), first=line, second=line)
def test_prompts_with_the_same_demonstrations_share_everything_before_the_question(dialect, shown, first, second):
    a, b = (render_shots(dialect, **FACTS, demonstrations=shown, question=q).text for q in (first, second))
    prefix = a[: next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))]
    for question, rationale in shown:
        assert question in prefix
        assert rationale.strip() in prefix
    assert len(prefix) >= len(a) - len(first) - len("\n\nThink step by step.")


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda d: d.name)
def test_demonstrations_stand_in_their_order_and_before_the_question(dialect):
    text = render_shots(dialect, **FACTS, demonstrations=[("q1", "r1 \n"), ("q2", "r2")], question="q3").text
    assert [text.index(x) for x in ("q1", "r1", "q2", "r2", "q3")] == sorted(text.index(x) for x in ("q1", "r1", "q2", "r2", "q3"))
    assert "r1 \n\n\n" not in text, "a rationale's own white space at the end must not reach the prompt"


def test_a_technique_reaches_instruction_followers_as_sentences_and_the_bundled_pair_as_a_cue():
    given = {**FACTS, "question": "q ?", "technique": "steps", "instruction": "Go slowly."}
    assert "Go slowly." in render_technique(ENGLISH, **given).text
    assert "steps" not in render_technique(ENGLISH, **given).text
    assert render_technique(FOLDS, **given).text == "Q : q ?\nsteps :"


def test_prompts_say_which_file_and_form_made_them():
    w = wording(ENGLISH)
    problem = Problem(text="q")
    kinds = [w.plain(problem).kind, w.technique("t", "i")(problem).kind, w.shots([("a", "b")])(problem).kind, w.shots([])(problem).kind]
    assert kinds == ["solve.plain", "solve.technique", "solve.shots", "solve.plain"]


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda d: d.name)
def test_every_field_of_every_template_is_one_that_its_renderer_fills(dialect):
    fields = {
        "plain": {"description", "answer_format", "question"},
        "technique": {"description", "answer_format", "question", "instruction", "technique"},
        "demonstration": {"question", "rationale"},
        "shots": {"description", "answer_format", "demonstrations", "question"},
        "questions": {"task", "description", "items", "count", "next_id"},
        "item": {"id", "question", "answer"},
    }
    for name, known in fields.items():
        assert set(re.findall(r"{(\w+)}", getattr(dialect, name))) <= known, name
    assert "question" in re.compile(dialect.item_pattern).groupindex


# -- examples that planning answers with ---------------------------------------------------------------------------------------


def test_every_prompt_file_that_renders_has_an_example_that_parses():
    with_renderers = [m for m in (dialects, questions, solve, techniques) if any(name.startswith("render_") for name in vars(m))]
    assert with_renderers == [questions, solve]
    items = parse_questions(ENGLISH, questions.example())
    assert len(items) == 5
    assert len({i.question for i in items}) == 5
    found = final_answer(solve.example())
    assert found is not None
    assert found.value == "9"


@pytest.mark.parametrize("name", ["folds/*"])
def test_the_example_of_a_solution_is_read_by_the_tasks_verifier(name):
    task = open_task(name)
    verdict = task.verify(task.seed[0], solve.example())
    assert verdict.parsed
    assert verdict.extracted == "9"
    assert task.verify(task.seed[0], task.answer_only(task.seed[0].answer or "")).right


def test_general_techniques_have_different_names_and_say_something():
    names = [t.name for t in techniques.GENERAL]
    assert len(names) == len(set(names)) == 4
    assert all(len(t.instruction.split()) > 3 for t in techniques.GENERAL)
