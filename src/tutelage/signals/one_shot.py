"""How much an item helps the student as the only demonstration in its context."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from tutelage.capabilities import Generates, Sampling
from tutelage.records import Feedback, Origin, Problem, Prompt, Solution, Verdict


def one_shot(
    student: Generates,
    solutions: Sequence[Solution],
    *,
    probes: Mapping[str, Sequence[Problem]],
    render: Callable[[Solution, Problem], Prompt],
    verify: Callable[[Problem, str], Verdict],
    sampling: Sampling,
    student_id: str,
) -> list[Feedback]:
    """Accuracy over the probes of the item's skill when the student sees the item first (ARTE Sec. 3.2, rationale preference).

    `probes` maps a skill to its problems; `parts` holds one 0/1 per answered probe in that order. An unparsed answer is not right. A
    probe that could not be asked (behind this item it exceeds the student's context) measures nothing and is left out; an item without
    any answered probe has value None.
    """
    prompts = [render(s, probe) for s in solutions for probe in probes.get(s.problem.skill, ())]
    answers = iter(student.generate(prompts, sampling))
    feedback = []
    for solution in solutions:
        mine = probes.get(solution.problem.skill, ())
        replies = [(probe, next(answers)[0]) for probe in mine]
        parts = tuple(1.0 if verify(probe, reply.text).right else 0.0 for probe, reply in replies if reply.finish != "error")
        value = sum(parts) / len(parts) if parts else None
        stderr = math.sqrt(value * (1 - value) / len(parts)) if value is not None else None
        origin = Origin(step="one_shot", parents=(solution.id, *(p.id for p in mine)), model=student_id)
        feedback.append(
            Feedback(
                item=solution.id, signal="one_shot", value=value, n=len(parts), stderr=stderr, parts=parts, model=student_id, origin=origin
            )
        )
    return feedback
