"""Two notations of the steps of the bundled world that say the same: key first and state first.

Key first is the world's style `steps`: day, value, state after it, `Mon 8 8 ; Tue 3 1 ; Wed 5 6 => 6`. State first, the style
`before`, writes the state before each day: `0 Mon 8 ; 8 Tue 3 ; 1 Wed 5 => 6`. Both hold every day, value and state, with as many words
a step and the same answer at the end; they differ in the order of the work. Students raised on one or the other differ in what helps
them, and in nothing that a teacher is told.

The garbled forms have the shape of a notation and states drawn by lot. A student that met a notation only garbled knows how it
looks and nothing of what it says.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from tutelage.tasks.folds_world import ARROW, DAYS, SKILLS, STYLES, Question, fold, parse_question, style_of, trace_errors, write_steps

NOTHING = "new"
"""Stands for the state before the first day where a fold begins with none (the largest digit so far, say)."""


def write_before(question: Question, rng: random.Random) -> str:
    """Every day with the state before it and its value, then the answer."""
    states = fold(question)
    if states is None:
        raise ValueError(f"question leaves its range: {question.text}")
    return _state_first(question, (question.start, *states))


def write_garbled_steps(question: Question, rng: random.Random) -> str:
    """The form of `steps` with states drawn by lot."""
    states = [rng.choice(SKILLS[question.skill].states) for _ in question.days]
    steps = zip(question.days, question.values, states, strict=True)
    return " ; ".join(" ".join(step) for step in steps) + f" {ARROW} {states[-1]}"


def write_garbled_before(question: Question, rng: random.Random) -> str:
    """The form of `before` with states drawn by lot."""
    return _state_first(question, [rng.choice(SKILLS[question.skill].states) for _ in range(len(question.days) + 1)])


def _state_first(question: Question, states: Sequence[str]) -> str:
    """`states` has one more entry than the question has days."""
    steps = zip(states, question.days, question.values, strict=False)
    return " ; ".join(f"{s or NOTHING} {d} {v}" for s, d, v in steps) + f" {ARROW} {states[-1]}"


NOTATIONS: dict[str, Callable[[Question, random.Random], str]] = {"steps": write_steps, "before": write_before}
WRITERS = STYLES | NOTATIONS | {"garbled_steps": write_garbled_steps, "garbled_before": write_garbled_before}
"""All ways in which a document can write a solution."""


def notation_of(rationale: str) -> str:
    """As `style_of`, with `before` told apart by its form."""
    words = rationale.split()
    first = words[0] if words else ""
    if words[1:2] and words[1] in DAYS and first not in DAYS and ARROW in words:
        return "before"
    return style_of(rationale)


def as_steps(question: str, rationale: str) -> str | None:
    """A solution in state-first notation rewritten in key-first notation, None where it is not of that form or does not begin with
    the question's start."""
    parts = parse_question(question)
    body, arrow, answer = rationale.partition(ARROW)
    steps = [s.split() for s in body.split(";")]
    if parts is None or not arrow or any(len(s) != 3 for s in steps) or steps[0][0] != (parts.start or NOTHING):
        return None
    after = [*(s[0] for s in steps[1:]), answer.strip()]
    return " ; ".join(f"{day} {value} {state}" for (_, day, value), state in zip(steps, after, strict=True)) + f" {ARROW} {answer.strip()}"


def notation_errors(question: str, rationale: str) -> tuple[str, ...]:
    """What is wrong with a solution in either notation; empty where every step and the answer are right."""
    if notation_of(rationale) != "before":
        return trace_errors(question, rationale)
    rewritten = as_steps(question, rationale)
    return (
        ("the steps are not of the form 'state day value' from the start on",) if rewritten is None else trace_errors(question, rewritten)
    )
