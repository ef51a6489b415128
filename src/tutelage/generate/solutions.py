"""Worked solutions from a model: plainly asked, with technique prompts, or after demonstrations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tutelage.capabilities import Generates, Sampling
from tutelage.records import Origin, Problem, Prompt, Solution, Verdict

Render = Callable[[Problem], Prompt]
Verify = Callable[[Problem, str], Verdict]


def solve(
    model: Generates,
    problems: Sequence[Problem],
    *,
    render: Render,
    verify: Verify,
    sampling: Sampling,
    model_id: str,
    technique: str = "",
    step: str = "solve",
) -> list[Solution]:
    """`sampling.n` solutions of every problem, problem by problem in order. Unparsed ones are kept, with `answer` None."""
    prompts = [render(p) for p in problems]
    solutions = []
    for problem, prompt, completions in zip(problems, prompts, model.generate(prompts, sampling), strict=True):
        for index, completion in enumerate(completions):
            text = completion.text.strip()
            verdict = verify(problem, text)
            origin = Origin(step=step, parents=(problem.id,), model=model_id, prompt=prompt.id)
            solutions.append(
                Solution(problem=problem, text=text, answer=verdict.extracted, technique=technique, sample=index, origin=origin)
            )
    return solutions
