"""A model that answers its own answers again, round after round."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tutelage.capabilities import Generates, Sampling
from tutelage.generate.solutions import Verify
from tutelage.records import Origin, Problem, Prompt, Solution


def refine_rounds(
    model: Generates,
    problems: Sequence[Problem],
    *,
    rounds: int,
    render: Callable[[Problem, Sequence[str]], Prompt],
    verify: Verify,
    sampling: Sampling,
    model_id: str,
    step: str = "refine",
) -> list[list[Solution]]:
    """One list of solutions per round, in the order of the problems. `render` is given a problem and the model's own earlier answers to it;
    how many rounds there are is fixed, and nothing tells the model whether it was right (PTR, Sec. 3)."""
    history: list[list[str]] = [[] for _ in problems]
    found: list[list[Solution]] = []
    for number in range(rounds):
        prompts = [render(p, said) for p, said in zip(problems, history, strict=True)]
        answers = []
        for place, replies in enumerate(model.generate(prompts, sampling)):
            text, problem = replies[0].text.strip(), problems[place]
            history[place].append(text)
            origin = Origin(step=f"{step} {number + 1}", parents=(problem.id,), model=model_id, prompt=prompts[place].id)
            answers.append(Solution(problem=problem, text=text, answer=verify(problem, text).extracted, sample=number, origin=origin))
        found.append(answers)
    return found
