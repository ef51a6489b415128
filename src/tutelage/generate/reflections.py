"""Feedback on responses that is read as if their writer had thought again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tutelage.capabilities import Generates, Sampling
from tutelage.generate.solutions import Verify
from tutelage.prompts.dialects import Dialect
from tutelage.prompts.feedback import Reflection, feedback_by_own_work, gives_feedback, parse_feedback, render_feedback
from tutelage.records import Problem, Prompt


def reflect_on(
    model: Generates,
    items: Sequence[tuple[Problem, str]],
    *,
    dialect: Dialect,
    description: str,
    answer_format: str,
    solving: Callable[[Problem], Prompt],
    verify: Verify,
    sampling: Sampling,
) -> list[Reflection | None]:
    """Feedback on each (problem, response); None where it could not be read. The teacher sees no answer key.

    A model that follows no instructions solves each problem under the prompt `solving` and its own work is laid beside the response: one
    call per response too. None where it comes to no answer.
    """
    if not items:
        return []
    if gives_feedback(dialect):
        asked = [render_feedback(description=description, answer_format=answer_format, question=p.text, response=r) for p, r in items]
        return [parse_feedback(c[0].text) for c in model.generate(asked, sampling)]
    works = [c[0].text.strip() for c in model.generate([solving(p) for p, _ in items], sampling)]
    found: list[Reflection | None] = []
    for (problem, response), own in zip(items, works, strict=True):
        reached = verify(problem, own).extracted
        if reached is None or (dialect.name == "folds" and "=>" not in own):
            found.append(None)
            continue
        agrees = verify(replace(problem, answer=reached), response).right
        found.append(feedback_by_own_work(dialect, response=response, own=own, agrees=agrees))
    return found
