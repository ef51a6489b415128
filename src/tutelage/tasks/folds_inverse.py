"""Questions of the bundled world turned round, in the world's own words.

Where the start is named (`track`, `nav`) the days are undone from the answer: `face north turn Mon right Tue back ?` with the answer `west`
becomes `face west turn Mon back Tue left ?`, whose answer is the start that the question named. Where values are added (`msum`, `shop`) one
day's value is the unknown: the answer stands in its place and the other days are taken away, `last digit of sum Mon 8 Tue 3 Wed 5 ?` (6)
becomes `last digit of sum Mon 2 Tue 6 Wed 5 ?` (3), which says of three days what is left of 6 without 8 and 5. The other skills lose what
they were given and cannot be turned round.
"""

from __future__ import annotations

from collections.abc import Callable

from tutelage.records import Origin, Problem
from tutelage.tasks.folds_world import TURNS, Question, bucket, fold, parse_question, solve


def invert(problem: Problem) -> Problem | None:
    """The inverse question with its answer, which the question states. None where the question is malformed, its skill cannot be turned
    round, or no turned question is a well-formed other one."""
    question = parse_question(problem.text)
    states = fold(question) if question is not None else None
    if question is None or states is None or question.skill not in _INVERSES:
        return None
    first = bucket(problem.text)
    for shift in range(len(question.days)):
        turned, answer = _INVERSES[question.skill](question, states[-1], (first + shift) % len(question.days))
        if turned.text != question.text and solve(turned.text) == answer:
            origin = Origin(step="invert", parents=(problem.id,))
            return Problem(text=turned.text, answer=answer, skill=problem.skill, origin=origin)
    return None


def _undo_swaps(question: Question, answer: str, hidden: int) -> tuple[Question, str]:
    return _from_answer(question, answer, question.values[::-1])


def _undo_turns(question: Question, answer: str, hidden: int) -> tuple[Question, str]:
    return _from_answer(question, answer, tuple(TURNS[2 - TURNS.index(v)] for v in question.values[::-1]))


def _from_answer(question: Question, answer: str, values: tuple[str, ...]) -> tuple[Question, str]:
    return Question(skill=question.skill, start=answer, days=question.days, values=values), question.start


def _unknown_digit(question: Question, answer: str, hidden: int) -> tuple[Question, str]:
    return _unknown(question, answer, hidden, lambda value: str(-int(value) % 10))


def _unknown_change(question: Question, answer: str, hidden: int) -> tuple[Question, str]:
    turned, value = _unknown(question, f"{int(answer):+d}", hidden, lambda value: f"{-int(value):+d}")
    return turned, str(int(value))


def _unknown(question: Question, stated: str, hidden: int, negative: Callable[[str], str]) -> tuple[Question, str]:
    values = tuple(stated if i == hidden else negative(v) for i, v in enumerate(question.values))
    return Question(skill=question.skill, start=question.start, days=question.days, values=values), question.values[hidden]


_INVERSES: dict[str, Callable[[Question, str, int], tuple[Question, str]]] = {
    "track": _undo_swaps,
    "nav": _undo_turns,
    "msum": _unknown_digit,
    "shop": _unknown_change,
}
