"""Which labelled problems each of several (model, shots) configurations gets right: the matrix that item response is fitted to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tutelage.capabilities import Generates, Sampling
from tutelage.records import Problem, Prompt, Verdict

Render = Callable[[Problem], Prompt]


def responses(
    model: Generates,
    problems: Sequence[Problem],
    *,
    renders: Sequence[Render],
    verify: Callable[[Problem, str], Verdict],
    sampling: Sampling,
) -> list[list[float]]:
    """One row of 0/1 per renderer (a number of shots), one column per problem (ARTE Sec. 3.2, score matrix S)."""
    prompts = [render(p) for render in renders for p in problems]
    answers = iter(model.generate(prompts, sampling))
    return [[1.0 if verify(p, next(answers)[0].text).right else 0.0 for p in problems] for _ in renders]
