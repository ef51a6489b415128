"""The second bundled world: solvers against slow twins, worked solutions and their check, splits, and what of the published files it
may know."""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import SettingsError
from tutelage.prompts.dialects import BBH
from tutelage.prompts.questions import parse_questions
from tutelage.tasks import bbh_world as world
from tutelage.tasks import bbhlike, open_task
from tutelage.tasks.bbh_world_counting import KINDS
from tutelage.tasks.bbh_world_logic import _LISTED, draw_name

PUBLISHED = Path(os.environ.get("TUTELAGE_DATA", "../shared/data")) / "bbh"
WEB, BOOLEAN, NAVIGATE, TRACKING, COUNTING = world.SKILLS


def questions(skill: str, count: int, seed: int = 0) -> list[world.Question]:
    rng = random.Random(f"{seed} {skill}")
    return [world.draw(rng, skill) for _ in range(count)]


def slow_answer(skill: str, text: str) -> str:
    """The answer worked out from the words alone, by other means than steps."""
    if skill == WEB:
        return "Yes" if len(re.findall(r"\blies\b", text)) % 2 == 0 else "No"
    if skill == BOOLEAN:
        return str(eval(text.removesuffix(" is"), {}))
    if skill == NAVIGATE:
        place, way = 0j, 1j
        sides = {"": 1, "forward": 1, "right": -1j, "backward": -1, "left": 1j}
        for take, side, turn in re.findall(r"Take (\d+) steps? ?(\w*)|Turn (\w+)", text):
            if turn:
                way *= {"left": 1j, "right": -1j, "around": -1}[turn]
            else:
                place += int(take) * way * sides[side]
        return "Yes" if place == 0 else "No"
    if skill == TRACKING:
        line = ["Alice", "Bob", "Claire"]
        body, _, asked = text.rpartition(". At the end of the ")
        swaps = re.findall(r"(?:First|Then|Finally), (\w+) and (\w+) ", body)
        for one, other in swaps:
            a, b = line.index(one), line.index(other)
            line[a], line[b] = line[b], line[a]
        # `line[i]` is whose thing i now is, read backwards: position i of the options belongs to the person that stands there.
        who = re.search(r"Alice|Bob|Claire", asked)
        assert who is not None
        held = dict.fromkeys(("Alice", "Bob", "Claire"), "")
        things = dict(zip(("Alice", "Bob", "Claire"), "ABC", strict=True))
        held |= things
        for one, other in swaps:
            held[one], held[other] = held[other], held[one]
        return f"({held[who[0]]})"
    total = 0
    kind = re.search(r"How many (.+) do I have", text)
    assert kind is not None
    for item in re.split(r", (?:and )?", text.removeprefix("I have ").partition(". ")[0]):
        count, thing = item.split(" ", 1)
        stems = [k for k, things in KINDS.items() if any(_stem(t) == _stem(thing) for t in things)]
        assert len(stems) == 1, thing
        if kind[1] in ("objects", stems[0]):
            total += ("a", "two", "three", "four", "five").index("a" if count == "an" else count) + 1
    return str(total)


def _stem(thing: str) -> str:
    words = {"mice": "mouse", "heads": "head", "stalks": "stalk"}
    first, *rest = (words.get(w, w) for w in thing.split())
    last = re.sub(r"(?<=[a-z]{2})(ies|oes|ches|s)$", lambda m: {"ies": "y", "oes": "o", "ches": "ch", "s": ""}[m[1]], [first, *rest][-1])
    return " ".join([*[first, *rest][:-1], last])


@pytest.mark.parametrize("skill", world.SKILLS)
def test_the_solver_agrees_with_a_slow_twin(skill: str) -> None:
    drawn = questions(skill, 300)
    answers = [world.solve(q.text, skill) for q in drawn]
    assert answers == [slow_answer(skill, q.text) for q in drawn]
    assert len(set(answers)) >= 2


@pytest.mark.parametrize("skill", world.SKILLS)
def test_worked_solutions_are_right_and_slips_are_found(skill: str) -> None:
    rng = random.Random(5)
    for question in questions(skill, 60):
        text = world.write_steps(question)
        assert world.trace_errors(question.text, text, skill) == ()
        steps, answer = text.split(world.ANSWER)
        assert answer == world.solve(question.text, skill)
        wrong = rng.choice([a for a in ("Yes", "No", "True", "False", "(A)", "(B)", "(C)", "77") if a != answer])
        assert len(world.trace_errors(question.text, f"{steps}{world.ANSWER}{wrong}", skill)) == 1
        assert bool(world.trace_errors(question.text, world.write_steps(question, closing=False), skill)) == (skill == TRACKING)
        assert world.trace_errors(question.text, steps, skill) == ("there is no answer",)
        shorter = " ".join(steps.split(" ")[:-1]) if skill == BOOLEAN else steps.rpartition(". ")[0] + "."
        assert world.trace_errors(question.text, f"{shorter}{world.ANSWER}{answer}", skill)


def test_one_slip_is_one_error_and_what_follows_is_judged_from_it() -> None:
    text = "I have a fish, two drums, and a cat. How many animals do I have?"
    right = "a fish: animal 1, 1. two drums: musical 0, 1. a cat: animal 1, 2.\nAnswer: 2"
    slipped = "a fish: animal 1, 1. two drums: musical 2, 3. a cat: animal 1, 4.\nAnswer: 4"
    assert world.trace_errors(text, right) == ()
    assert world.trace_errors(text, slipped) == ("step 'two drums: musical 2, 3.' should end in 'musical 0, 1'",)


def test_a_right_answer_does_not_save_wrong_steps() -> None:
    text = "Question: Marlo lies. Ute says Marlo lies. Does Ute tell the truth?"
    assert world.trace_errors(text, "Marlo lies: No. Ute says Marlo lies: Yes.\nAnswer: Yes") == ()
    misspelt = world.trace_errors(text, "Marlo lies: No. Ute says Malro lies: Yes.\nAnswer: Yes")
    assert misspelt == ("step 'Ute says Malro lies: Yes.' should be 'Ute says Marlo lies: ....'",)
    doubly_wrong = world.trace_errors(text, "Marlo lies: Yes. Ute says Marlo lies: Yes.\nAnswer: Yes")
    assert len(doubly_wrong) == 2


@pytest.mark.parametrize(
    ("skill", "text"),
    [
        (WEB, "Question: Ada lies. Bo says Cy lies. Does Bo tell the truth?"),
        (WEB, "Question: Ada lies. Bo says Ada lies. Does Ada tell the truth?"),
        (BOOLEAN, "( True and not not not True is"),
        (BOOLEAN, "True and True is"),
        (NAVIGATE, "If you follow these instructions, do you return to the starting point? Take 1 steps.\nOptions:\n- Yes\n- No"),
        (NAVIGATE, "If you follow these instructions, do you return to the starting point? Take 11 steps.\nOptions:\n- Yes\n- No"),
        (COUNTING, "I have a fish, and two apple. How many animals do I have?"),
        (COUNTING, "I have a fish, and a spoon. How many animals do I have?"),
        (COUNTING, "I have a fish, and a cat. How many spoons do I have?"),
    ],
)
def test_malformed_questions_have_no_answer(skill: str, text: str) -> None:
    assert world.parse(text, skill) is None
    assert world.solve(text, skill) is None
    assert world.trace_errors(text, "Answer: Yes", skill) == ("the question is malformed",)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(list(world.SKILLS)), st.integers(0, 50), st.text(max_size=30), st.integers(0, 200), st.integers(0, 200))
def test_reading_and_checking_never_raise(skill: str, seed: int, noise: str, start: int, end: int) -> None:
    question = questions(skill, 1, seed)[0]
    text, solution = question.text, world.write_steps(question)
    broken = text[: start % len(text)] + noise + text[end % len(text) :]
    found = world.parse(broken, skill)
    assert found is None or found.text == broken.strip()
    damaged = solution[: start % len(solution)] + noise + solution[end % len(solution) :]
    errors = world.trace_errors(text, damaged, skill)
    if " ".join(damaged.split()) == " ".join(solution.split()):
        return
    assert errors


def test_published_questions_are_known_by_hash_and_never_drawn() -> None:
    hashes = world.PUBLISHED.read_text().split()
    assert len(hashes) == len(set(hashes)) == 1250
    assert all(re.fullmatch(r"[0-9a-f]{10}", h) for h in hashes)
    free = {world.SKILLS[BOOLEAN].draw(rng) for rng in [random.Random(1)] for _ in range(4000)}
    published = {t for t in free if world.is_published(t)}
    assert len(published) >= 150  # the space is small, so that unfiltered draws meet most of the 250
    assert not published & {q.text for q in questions(BOOLEAN, 2000)}
    some = min(published)
    assert world.is_published(f"  {some.upper()} ")


def test_splits_are_disjoint_labelled_and_as_large_as_asked() -> None:
    task = open_task("bbhlike/*", {"train_size": 30})
    assert task.templated
    splits = {"seed": task.seed, "train": task.train, "validation": task.validation, "test": task.test}
    assert {s: len(p) for s, p in splits.items()} == {"seed": 60, "train": 150, "validation": 200, "test": 300}
    texts = [p.text for problems in splits.values() for p in problems]
    assert len(texts) == len(set(texts))
    for split, problems in splits.items():
        for p in problems:
            assert world.bucket(p.text) in bbhlike.BUCKETS[split]
            assert p.answer is not None
            assert task.solve is not None
            assert task.solve(p) == p.answer
            assert task.verify(p, task.answer_only(p.answer)).right
            question = world.parse(p.text, p.skill)
            assert question is not None
            assert task.verify(p, world.write_steps(question)).right
            assert not task.verify(p, "").right
    assert all(task.verify(p, str(p.context["rationale"])).right for p in task.seed)


def test_another_number_gives_other_problems() -> None:
    first, second = (open_task(f"bbhlike/{NAVIGATE}", {"train_seed": s, "test_seed": s}) for s in (0, 4))
    assert first.validation == second.validation
    for split in ("train", "test"):
        one, two = ({p.text for p in getattr(task, split)} for task in (first, second))
        assert len(one) == len(two) == bbhlike.SIZES[split]
        assert not one & two


def test_options_are_refused_with_a_way_out() -> None:
    with pytest.raises(SettingsError, match="web_of_lies"):
        open_task("bbhlike/web_of_lie")
    with pytest.raises(SettingsError, match="has not 3000 different train questions"):
        open_task(f"bbhlike/{BOOLEAN}", {"train_size": 3000})
    with pytest.raises(SettingsError, match="no option 'test_sizes'"):
        open_task(f"bbhlike/{BOOLEAN}", {"test_sizes": 3})


def test_questions_of_several_lines_are_read_back() -> None:
    texts = [questions(skill, 1, 3)[0].text for skill in world.SKILLS]
    items = [BBH.item.format(id=1, question=t, answer="") for t in texts]
    for listed in ("\n".join(items), "\n\n".join(items), "\nA: Yes\n\n".join(items) + "\nA: No"):
        assert [item.question for item in parse_questions(BBH, listed)] == texts


def test_names_are_various() -> None:
    rng = random.Random(2)
    names = {draw_name(rng) for _ in range(3000)}
    assert len(names) > 1500
    assert all(re.fullmatch(r"[A-Z][a-z]+", n) for n in names)


published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="needs the published BIG-Bench Hard files in TUTELAGE_DATA/bbh")


@published
@pytest.mark.parametrize("skill", world.SKILLS)
def test_published_questions_are_understood_and_excluded(skill: str) -> None:
    rows = json.loads((PUBLISHED / f"{skill}.json").read_text())["examples"]
    assert len(rows) == 250
    assert [world.solve(r["input"], skill) for r in rows] == [r["target"] for r in rows]
    assert all(world.is_published(r["input"]) for r in rows)
    for row in rows:
        question = world.parse(row["input"], skill)
        assert question is not None
        assert world.trace_errors(row["input"], world.write_steps(question), skill) == ()


@published
def test_no_listed_name_is_a_published_one() -> None:
    rows = json.loads((PUBLISHED / f"{WEB}.json").read_text())["examples"]
    names = {n for r in rows for n in re.findall(r"[A-Z][a-z]+", r["input"])}
    assert len(names) >= 50
    assert not names & set(_LISTED)
