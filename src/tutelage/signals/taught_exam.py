"""How well students do in an exam after being taught one solution: the solution is the last demonstration before each exam question."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from tutelage.capabilities import Generates, Sampling
from tutelage.records import Feedback, Origin, Problem, Prompt, Solution, Verdict

Student = tuple[Generates, Callable[[Solution, Problem], Prompt]]
"""A student and what it is shown: (solution taught, exam question) -> prompt."""


def taught_exam(
    students: Sequence[Student],
    solutions: Sequence[Solution],
    *,
    exams: Mapping[str, Sequence[Problem]],
    verify: Callable[[Problem, str], Verdict],
    sampling: Sampling,
    student_id: str,
) -> list[Feedback]:
    """Share of right exam answers over students, exam questions and `sampling.n` repeats (LbT, Sec. 3: score of a rationale and answer).

    `exams` maps the id of a taught problem to questions like it, with answers; the taught problem itself among them measures nothing and
    is left out. `parts` holds one 0/1 per answer in the order student, question, repeat. Where nothing could be asked the value is None.
    """
    parts: list[list[float]] = [[] for _ in solutions]
    asked: list[tuple[int, Problem]] = [
        (place, exam) for place, x in enumerate(solutions) for exam in exams.get(x.problem.id, ()) if exam.text != x.problem.text
    ]
    for student, render in students:
        prompts = [render(solutions[place], exam) for place, exam in asked]
        for (place, exam), replies in zip(asked, student.generate(prompts, sampling), strict=True):
            parts[place] += [1.0 if verify(exam, r.text).right else 0.0 for r in replies if r.finish != "error"]
    feedback = []
    for solution, mine in zip(solutions, parts, strict=True):
        value = sum(mine) / len(mine) if mine else None
        parents = (solution.id, *(e.id for e in exams.get(solution.problem.id, ())))
        feedback.append(
            Feedback(
                item=solution.id, signal="taught_exam", value=value, n=len(mine),
                stderr=None if value is None else math.sqrt(value * (1 - value) / len(mine)),
                parts=tuple(mine), model=student_id, origin=Origin(step="taught_exam", parents=parents, model=student_id),
            )
        )  # fmt: skip
    return feedback
