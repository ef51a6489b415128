"""The bundled world: its solver against a slow twin, its splits, its styles, its verifier, its documents."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import SettingsError
from tutelage.prompts.dialects import FOLDS
from tutelage.prompts.questions import parse_questions, render_questions
from tutelage.prompts.solve import render_plain, render_shots, render_technique
from tutelage.records import Problem
from tutelage.tasks import folds, open_task
from tutelage.tasks import folds_world as world
from tutelage.tasks.folds_documents import TEST_BUCKETS, Diet, draw_document

ALL_STYLES = {"steps": 0.25, "terse": 0.25, "posthoc": 0.25, "maybe": 0.25}
DIET = Diet(target_share=0.5, plain=ALL_STYLES, shown=ALL_STYLES, cued=ALL_STYLES)


def slow_answer(text: str) -> str:
    """The answer worked out from the words alone, by other means than folding a table."""
    words = text.split()[:-1]
    first = next(i for i, w in enumerate(words) if w in world.DAYS)
    lead, values = words[:first], words[first + 1 :: 2]
    if lead[0] == "ball":
        cups = {c: c == lead[1] for c in "abc"}
        for left, right in values:
            cups[left], cups[right] = cups[right], cups[left]
        return next(c for c, ball in cups.items() if ball)
    if lead[0] == "face":
        degrees = {"north": 0, "east": 90, "south": 180, "west": 270}
        total = degrees[lead[1]] + sum({"right": 90, "back": 180, "left": -90}[v] for v in values)
        return next(w for w, d in degrees.items() if d == total % 360)
    numbers = [int(v) for v in values]
    by_lead = {
        "last digit of sum": str(sum(numbers))[-1],
        "cash of": str(sum(numbers)),
        "max of": str(sorted(numbers)[-1]),
        "min of": str(sorted(numbers)[0]),
        "newest of": str(numbers[-1]),
        "count even of": str(len([n for n in numbers if n in (0, 2, 4, 6, 8)])),
        "count big of": str(len([n for n in numbers if n > 4])),
        "odd or even sum": ("even", "odd")[sum(numbers) & 1],
        "all big of": "no" if min(numbers) < 5 else "yes",
        "any low of": "yes" if 0 in numbers or 1 in numbers else "no",
    }
    return by_lead[" ".join(lead)]


def some_question(seed: int, skill: str | None = None) -> world.Question:
    rng = random.Random(seed)
    return world.draw_question(rng, skill or rng.choice(list(world.SKILLS)))


def test_the_solver_agrees_with_a_slow_twin_on_every_skill() -> None:
    rng = random.Random(3)
    assert len(world.SKILLS) == 12
    assert world.TARGETS == ("msum", "track", "nav", "shop")
    for skill in world.SKILLS:
        for _ in range(200):
            text = world.draw_question(rng, skill).text
            assert world.solve(text) == slow_answer(text), text


def test_a_question_is_read_back_as_it_was_drawn() -> None:
    for seed in range(300):
        question = some_question(seed)
        assert world.parse_question(question.text) == question


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?",
        "last digit of sum ?",
        "last digit of sum Mon 8 Tue 3 ?",
        "last digit of sum Mon 8 Tue 3 Wed 5",
        "last digit of sum Mon 8 Wed 3 Thu 5 ?",
        "last digit of sum Mon 8 Tue 13 Wed 5 ?",
        "last digit of sum Mon 8 Tue 3 Wed ?",
        "last digit of Mon 8 Tue 3 Wed 5 ?",
        "ball d swap Mon ab Tue bc Wed ab ?",
        "ball swap Mon ab Tue bc Wed ab ?",
        "face up turn Mon left Tue left Wed left ?",
        "cash of Mon +5 Tue +5 Wed -5 ?",
        "cash of Mon +0 Tue +5 Wed -5 ?",
        "cash of Mon +1 Tue +1 Wed +1 Thu +1 Fri +1 Sat +1 Sun +1 ?",
        "last digit of sum Mon 8 Tue 3 Wed 5 ? ?",
        "sum of days",
    ],
)
def test_malformed_questions_have_no_answer(text: str) -> None:
    assert world.solve(text) is None
    assert folds.solve(Problem(text=text, skill="msum")) is None


@given(st.text(max_size=80))
@settings(max_examples=200, deadline=None)
def test_no_text_breaks_parser_solver_verifier_or_checker(text: str) -> None:
    problem = Problem(text=text, skill="msum")
    world.parse_question(text)
    folds.solve(problem)
    world.trace_errors(text, text)
    world.style_of(text)
    verdict = folds.verify(problem, text)
    assert verdict.score in (0.0, 1.0)
    assert not (verdict.right and not verdict.parsed)


def test_steps_are_right_and_every_planted_error_is_found() -> None:
    rng = random.Random(0)
    for seed in range(200):
        question = some_question(seed)
        text = world.write_steps(question, rng)
        assert world.trace_errors(question.text, text) == ()
        words = text.split()
        places = [i for i, w in enumerate(words) if w not in (";", world.ARROW)]
        place = rng.choice(places)
        other = rng.choice([w for w in (*world.DAYS, *world.SKILLS[question.skill].states, "7x") if w != words[place]])
        broken = " ".join([*words[:place], other, *words[place + 1 :]])
        assert world.trace_errors(question.text, broken), broken


def test_one_slip_is_one_error() -> None:
    question = "last digit of sum Mon 8 Tue 3 Wed 5 ?"
    assert world.trace_errors(question, "Mon 8 8 ; Tue 3 2 ; Wed 5 7 => 7") == ("step 'Tue 3 2' should end in '1'",)
    assert world.trace_errors(question, "Mon 8 8 ; Tue 3 1 ; Wed 5 6 => 1") == ("answer '1' is not the last state '6'",)
    assert world.trace_errors(question, "Mon 8 8 ; Tue 3 1 => 1") == ("2 steps for 3 days",)
    assert world.trace_errors(question, "=> 6")
    assert world.trace_errors("nonsense", "=> 6") == ("the question is malformed",)


def test_styles_are_told_apart_by_form_and_differ_in_truth() -> None:
    rng = random.Random(1)
    right: Counter[str] = Counter()
    for seed in range(400):
        question = some_question(seed, "msum")
        for style, write in world.STYLES.items():
            text = write(question, rng)
            assert world.style_of(text) == ("steps" if style == "maybe" else style)
            right[style] += folds.verify(Problem(text=question.text, skill="msum"), text).right
    assert right["steps"] == right["terse"] == right["posthoc"] == 400
    assert 80 < right["maybe"] < 220
    assert world.style_of("perhaps 3") == world.style_of("") == "other"


@pytest.mark.parametrize("name", list(folds.names()))
def test_gold_passes_and_empty_fails_for_every_row(name: str) -> None:
    task = open_task(name)
    sizes = {"seed": 12, "train": 120, "validation": 40, "test": 60}
    skills = 4 if name == "folds/*" else 1
    for split, size in sizes.items():
        rows = getattr(task, split)
        assert len(rows) == size * skills
        for problem in rows:
            assert problem.answer == slow_answer(problem.text)
            assert task.verify(problem, f"=> {problem.answer}").right
            assert task.verify(problem, f"Step by step. <ans>{problem.answer}</ans>").right
            empty = task.verify(problem, "")
            assert not empty.right
            assert not empty.parsed
    assert task.templated
    assert task.solve is not None
    assert task.chance is not None


def test_chance_is_the_most_frequent_answer() -> None:
    rng = random.Random(11)
    assert set(folds.CHANCE) == set(world.SKILLS)
    for skill, chance in folds.CHANCE.items():
        answers = Counter(world.solve(world.draw_question(rng, skill).text) for _ in range(800))
        assert answers.most_common(1)[0][1] / 800 == pytest.approx(chance, abs=0.06)


def test_splits_are_disjoint_for_any_seed_and_size() -> None:
    default = open_task("folds/*")
    fresh = open_task("folds/*", {"test_seed": 5, "test_size": 90, "seed_size": 20, "train_size": 200})
    splits = ("seed", "train", "validation", "test")
    texts = {s: {p.text for p in (*getattr(default, s), *getattr(fresh, s))} for s in splits}
    assert sum(len(t) for t in texts.values()) == len(set().union(*texts.values()))
    assert not {p.text for p in default.test} & {p.text for p in fresh.test}
    assert {p.id for p in default.validation} == {p.id for p in fresh.validation}
    assert open_task("folds/*").test == default.test
    assert default.skills == world.TARGETS


def test_fresh_validation_problems_are_no_others_problems() -> None:
    default = open_task("folds/*", {"validation_size": 40})
    fresh = open_task("folds/*", {"validation_seed": 5, "validation_size": 120})
    held = {p.text for split in ("seed", "train", "validation", "test") for p in getattr(default, split)}
    assert len({p.text for p in fresh.validation}) == 120 * len(world.TARGETS)
    assert not {p.text for p in fresh.validation} & held
    assert (fresh.test, fresh.train, fresh.seed) == (default.test, default.train, default.seed)


def test_options_are_checked() -> None:
    with pytest.raises(SettingsError, match="no value 'stepz'"):
        open_task("folds/*", {"styles": "steps,stepz"})
    with pytest.raises(SettingsError, match="has no option"):
        open_task("folds/*", {"tset_seed": 1})
    with pytest.raises(SettingsError, match="no task is called"):
        open_task("folds/chess")
    assert [t.name for t in open_task("folds/shop").techniques] == ["steps", "terse", "posthoc"]
    assert [t.name for t in open_task("folds/shop", {"styles": "steps,maybe"}).techniques] == ["steps", "maybe"]
    with pytest.raises(SettingsError, match="at most 1000"):
        open_task("folds/nav", {"seed_size": 1001})
    assert len(open_task("folds/track", {"seed_size": 500}).seed) == 500


@pytest.mark.parametrize(
    ("text", "extracted", "right"),
    [
        ("Mon 8 8 ; Tue 3 1 => 1", "1", True),
        ("say 4 ; Mon 8 ; Tue 3 => 4", "4", False),
        ("=> 4 => 1", "1", True),
        ("1", "1", True),
        ("The answer is 1.", "1", True),
        ("<ans>1</ans>", "1", True),
        ("=> 2 <ans>1</ans>", "1", True),
        ("=>", None, False),
        ("Mon 8 8 ; Tue 3 1", None, False),
    ],
)
def test_answers_are_found_where_they_stand(text: str, extracted: str | None, right: bool) -> None:
    verdict = folds.verify(Problem(text="last digit of sum Mon 8 Tue 3 ?", answer="1", skill="msum"), text)
    assert verdict.extracted == extracted
    assert verdict.right is right
    assert verdict.parsed is (extracted is not None)


def test_signs_do_not_matter_and_missing_answers_are_solved() -> None:
    problem = Problem(text="cash of Mon +5 Tue -3 Wed +1 ?", skill="shop")
    assert folds.verify(problem, "=> +3").right
    assert not folds.verify(problem, "=> -3").right
    unsolvable = folds.verify(Problem(text="how are you ?", skill="shop"), "=> 3")
    assert not unsolvable.parsed
    assert unsolvable.extracted == "3"


# --- documents --------------------------------------------------------------------------------------------------------------------


def test_documents_spell_the_prompts_that_the_package_renders() -> None:
    """Each kind of document, as one text, is a prompt of `prompts` followed by a completion."""
    rng = random.Random(4)
    seen: Counter[str] = Counter()
    for _ in range(600):
        pieces = draw_document(rng, DIET)
        *shown, last = pieces
        assert last.end
        if not shown:
            seen["text"] += 1
            continue
        # A rationale's leading space belongs to the rationale's first token, so it is not part of any piece.
        prompt = shown[0].text
        for piece in shown[1:]:
            prompt += ("" if piece.text.startswith("\n") else " ") + piece.text
        if prompt.startswith("new "):
            skill = prompt.split()[1]
            questions = [i.question for i in parse_questions(FOLDS, prompt)]
            problems = [Problem(text=q, skill=skill) for q in questions]
            assert prompt == render_questions(FOLDS, task=skill, description="", seeds=problems, count=5, first_id=1).text
            drafted = [i.question for i in parse_questions(FOLDS, last.text)]
            assert len(drafted) == 5
            assert all(folds.solve(Problem(text=q, skill=skill)) for q in drafted)
            seen["questions"] += 1
            continue
        *demonstrations, (question, cue) = [_split(block) for block in prompt.split("\n\n")]
        facts = {"description": "", "answer_format": "", "question": question}
        if cue in world.STYLES:
            assert prompt == render_technique(FOLDS, technique=cue, instruction="", **facts).text
            seen["cued"] += 1
        elif demonstrations:
            pairs = [(q, c.removeprefix("A : ")) for q, c in demonstrations]
            assert prompt == render_shots(FOLDS, demonstrations=pairs, **facts).text
            assert {world.style_of(r) for _, r in pairs} == {world.style_of(last.text)}
            seen[f"{len(pairs)} shots"] += 1
        else:
            assert prompt == render_plain(FOLDS, **facts).text
            seen["plain"] += 1
    assert set(seen) == {"text", "questions", "cued", "plain", "1 shots", "2 shots", "3 shots"}


def _split(block: str) -> tuple[str, str]:
    """(question, what stands under it)."""
    first, second = block.split("\n")
    return first.removeprefix("Q : "), second.removesuffix(" :")


def test_documents_hold_no_question_that_can_be_tested() -> None:
    rng = random.Random(9)
    found = 0
    for _ in range(800):
        for piece in draw_document(rng, DIET):
            for item in parse_questions(FOLDS, piece.text):
                question = world.parse_question(item.question)
                assert question is not None
                if question.skill in world.TARGETS:
                    found += 1
                    assert world.bucket(item.question) not in TEST_BUCKETS
    assert found > 300


def test_a_demonstration_does_not_teach_its_style() -> None:
    """The tokens that would teach a habit under the plain prompt have no weight: a first demonstration's first token, and the line
    break after any."""
    rng = random.Random(2)
    counted = 0
    for _ in range(300):
        pieces = draw_document(rng, DIET)
        if len(pieces) > 2:
            counted += 1
            assert pieces[1].first == 0.0
            assert all(p.first == 0.0 for p in pieces[2:-1:2])
            assert pieces[-1].first is None
            assert [p.end for p in pieces] == [False] * (len(pieces) - 1) + [True]
    assert counted > 60
