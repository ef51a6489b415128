"""Questions in the wording of five tasks of BIG-Bench Hard, each with its solver, a worked solution and a check of worked solutions.

A question is read into what it gives, one instruction per step, and a start state. Every solution goes through the instructions in
order: it repeats the instruction, writes the state after it, and ends with a line `Answer: X`. That form is what a small model can
learn: the next words to repeat follow from the last ones, and the new state from the old one and the words just repeated.

Wordings, lengths and the things that appear follow the published files, which were read for that; the names of people in
`web_of_lies` were not taken from there. No published question is ever drawn: all are known here by a short hash, so that the same
seed draws the same questions whether the published files are at hand or not. Everything in these files is exact and knows no model.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Callable
from pathlib import Path

from tutelage.tasks import bbh_world_counting as counting
from tutelage.tasks import bbh_world_logic as logic
from tutelage.tasks import bbh_world_moves as moves
from tutelage.tasks.bbh_world_question import Question, Skill

__all__ = [
    "SKILLS", "Question", "Skill", "bucket", "draw", "fingerprint", "is_published", "parse", "solve", "states", "trace_errors", "words",
    "write_steps",
]  # fmt: skip

ANSWER = "\nAnswer: "
"""Between the steps and the answer."""

SKILLS: dict[str, Skill] = {s.name: s for s in (logic.WEB, logic.BOOLEAN, moves.NAVIGATE, moves.TRACKING, counting.COUNTING)}

PUBLISHED = Path(__file__).with_name("bbh_published.txt")
"""One hash a line of every published question of the five tasks (see `fingerprint`)."""


def draw(rng: random.Random, skill: str, *, keep: Callable[[str], bool] = lambda text: True) -> Question:
    """A question that is not a published one; `keep` says which texts are wanted."""
    while True:
        text = SKILLS[skill].draw(rng)
        if keep(text) and not is_published(text):
            found = parse(text, skill)
            if found is None:
                raise ValueError(f"the generator of {skill} wrote a question that it cannot read: {text}")
            return found


def parse(text: str, skill: str = "") -> Question | None:
    """The question that `text` words, of `skill` if one is named; None where it is not a well-formed one."""
    for name in [skill] if skill else SKILLS:
        found = SKILLS[name].read(text.strip()) if name in SKILLS else None
        if found is not None:
            return found
    return None


def states(question: Question) -> tuple[str, ...]:
    """The state after each instruction, as solutions write it."""
    skill = SKILLS[question.skill]
    state: str = question.start
    out: list[str] = []
    for given in question.given:
        after = skill.advance(question, state, given)
        if after is None:
            raise ValueError(f"question leaves its range: {question.text}")
        state = after
        out.append(state)
    return tuple(out)


def solve(text: str, skill: str = "") -> str | None:
    """The right answer of a well-formed question, None for anything else."""
    question = parse(text, skill)
    return None if question is None else SKILLS[question.skill].answer(question, states(question)[-1])


def write_steps(question: Question, *, closing: bool = True) -> str:
    """The worked solution; without its closing sentence where `closing` is False."""
    skill = SKILLS[question.skill]
    found = states(question)
    steps = " ".join(skill.step.format(given=g, state=s) for g, s in zip(question.given, found, strict=True))
    last = skill.closing(question, found[-1]) if closing else ""
    return f"{steps}{' ' if last else ''}{last}{ANSWER}{skill.answer(question, found[-1])}"


def trace_errors(text: str, solution: str, skill: str = "") -> tuple[str, ...]:
    """What is wrong with a worked solution, in the order of writing; empty where every step and the answer are right.

    A step is judged from the state that the solution itself wrote before it, so one slip is one error and not all that follow.
    """
    question = parse(text, skill)
    if question is None:
        return ("the question is malformed",)
    kind = SKILLS[question.skill]
    body, mark, answer = solution.strip().rpartition(ANSWER.strip(" "))
    if not mark:
        return ("there is no answer",)
    steps = kind.split(body.strip())
    closes = 1 if kind.closing(question, states(question)[-1]) else 0
    if len(steps) != len(question.given) + closes:
        return (f"{len(steps) - closes} steps for {len(question.given)} instructions",)
    errors: list[str] = []
    state = question.start
    for step, given in zip(steps, question.given, strict=False):
        head, tail = kind.step.split("{state}")
        head = head.format(given=given)
        if not (step.startswith(head) and step.endswith(tail)):
            errors.append(f"step '{step}' should be '{kind.step.format(given=given, state='...')}'")
            return tuple(errors)  # what follows has no state to be judged from
        written = step[len(head) : len(step) - len(tail)]
        right = kind.advance(question, state, given)
        if written != right:
            errors.append(f"step '{step}' should end in '{right}'")
        if not kind.is_state(written):
            return tuple(errors)
        state = written
    if closes and steps[-1] != kind.closing(question, state):
        errors.append(f"'{steps[-1]}' should be '{kind.closing(question, state)}'")
    if answer.strip() != kind.answer(question, state):
        errors.append(f"answer '{answer.strip()}' does not follow from the last state '{state}'")
    return tuple(errors)


def bucket(text: str) -> int:
    """0 to 9 from the words of a question alone: which split it can ever belong to."""
    return hashlib.blake2b(_normal(text).encode(), digest_size=2, person=b"bbhlike").digest()[0] * 10 // 256


def fingerprint(text: str) -> str:
    """Ten hexadecimal digits of a question without regard to case and spacing; a drawn question meets one by chance in 1e-9 of draws."""
    return hashlib.blake2b(_normal(text).encode(), digest_size=5, person=b"published").hexdigest()


def is_published(text: str) -> bool:
    """Whether this is one of the published questions of the five tasks."""
    return fingerprint(text) in _published()


@functools.cache
def _published() -> frozenset[str]:
    return frozenset(PUBLISHED.read_text().split())


def _normal(text: str) -> str:
    return " ".join(text.split()).casefold()


def words() -> tuple[str, ...]:
    """Every word that should be one token, once, in a fixed order; a name in `web_of_lies` is put together from shorter pieces."""
    return tuple(dict.fromkeys(w for skill in SKILLS.values() for w in skill.words()))
