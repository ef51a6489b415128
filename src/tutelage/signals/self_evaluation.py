"""How likely a model holds its own solutions to be right."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tutelage.capabilities import Scores
from tutelage.prompts.dialects import Dialect
from tutelage.prompts.self_check import NO, YES, can_be_asked, render_self_check
from tutelage.records import Feedback, Origin, Prompt, Solution


def self_evaluation(
    model: Scores, solutions: Sequence[Solution], *, dialect: Dialect, description: str, bare: Sequence[str], model_id: str
) -> list[Feedback]:
    """P(yes) / (P(yes) + P(no)) to the question whether the solution is right; of models that cannot be asked, P(bare answer). In [0, 1].

    `bare` holds the answer of each solution as the verifier reads it without steps, empty where there is none: then the value is None.
    """
    prompts = [render_self_check(dialect, description=description, question=x.problem.text, solution=x.text) for x in solutions]
    if can_be_asked(dialect):
        yes, no = (_nats(model, prompts, [word] * len(prompts)) for word in (YES, NO))
        values = [None if a is None or b is None else 1 / (1 + math.exp(min(700.0, b - a))) for a, b in zip(yes, no, strict=True)]
    else:
        places = [i for i, text in enumerate(bare) if text]
        found = dict(zip(places, _nats(model, [prompts[i] for i in places], [bare[i] for i in places]), strict=True))
        values = [None if (nats := found.get(i)) is None else math.exp(nats) for i in range(len(solutions))]
    return [
        Feedback(
            item=x.id, signal="self_evaluation", value=value, n=int(value is not None), model=model_id,
            origin=Origin(step="self_evaluation", parents=(x.id,), model=model_id),
        )
        for x, value in zip(solutions, values, strict=True)
    ]  # fmt: skip


def _nats(model: Scores, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float | None]:
    """None for a text that could not be read behind its prompt."""
    return [sum(found.logprobs) if found.logprobs else None for found in model.score(prompts, texts)]
