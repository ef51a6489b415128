"""A classroom whose student is a count of what it was taught: every rule can be tried in milliseconds."""

from collections import Counter

from tutelage.classroom import Classroom
from tutelage.records import Problem, Solution

SKILLS = ("easy", "fair", "hard")
NEEDS = {"easy": 2, "fair": 6, "hard": 12}
"""Rows of a skill after which the student solves all its problems; half of them after half the rows."""


def problem(skill, number, kind="v"):
    return Problem(text=f"{kind} {skill} question {number}", answer="right", skill=skill)


VALIDATION = [problem(skill, i) for skill in SKILLS for i in range(4)]
SEED = [Solution(problem=problem(skill, i, "s"), text="so right", answer="right") for skill in SKILLS for i in range(3)]


def answer(student, problems):
    def text(p):
        number = int(p.text.split()[-1])
        return "right" if student[p.skill] >= NEEDS[p.skill] * (number + 1) / 4 else "wrong"

    return [Solution(problem=p, text=text(p), answer=text(p)) for p in problems]


def classroom(trained=None, **options):
    def train(base, rows):
        if trained is not None:
            trained.append((base, rows))
        return base + Counter(r.problem.skill for r in rows)

    given = dict(rounds_at_most=4, rows_at_most=100) | options
    return Classroom(
        base=Counter(), train=train, answer=answer, is_right=lambda x: x.text == "right", validation=VALIDATION, seed=SEED, **given
    )


def engine(orders, round_):
    """A teacher that does what it is told."""
    return [
        Solution(problem=problem(o.skill, 0, f"row {round_} {place} {i}"), text="right", answer="right")
        for place, o in enumerate(orders)
        for i in range(o.wanted)
    ]
