"""Critiques of replies from a model: drawn with a score, rated by the model itself, or summed up into one."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from tutelage.capabilities import Generates, Sampling
from tutelage.prompts.critics import (
    Evaluation,
    follows_instructions,
    marked_steps,
    parse_evaluation,
    parse_rating,
    parse_summary,
    render_evaluation,
    render_rating,
    render_summary,
    with_score,
)
from tutelage.prompts.dialects import Dialect
from tutelage.records import Example, Origin, Problem, Prompt, Solution
from tutelage.select.agreement import agreement, majority_text

Item = tuple[Prompt, str]
"""What was asked, and the reply that is criticised."""


def evaluate_replies(
    model: Generates, items: Sequence[Item], *, dialect: Dialect, sampling: Sampling, steps: bool
) -> list[list[Evaluation | None]]:
    """`sampling.n` critiques with scores of every reply, in order; None for one that could not be read. `steps`: ask for a check step by
    step."""
    prompts = [render_evaluation(dialect, asked=asked, response=reply, steps=steps) for asked, reply in items]
    return [[parse_evaluation(dialect, c.text) for c in group] for group in model.generate(prompts, sampling)]


def rate_critiques(
    model: Generates, items: Sequence[Item], critiques: Sequence[Sequence[str]], *, dialect: Dialect, sampling: Sampling
) -> list[list[float | None]]:
    """How good each critique of each reply is. A model that follows instructions is asked and may give no readable rating (None); where it
    does not, a critique is as good as far as the other critiques of the reply agree with it."""
    if not follows_instructions(dialect):
        return [list(agreement(texts)) for texts in critiques]
    prompts = [
        render_rating(asked=asked, response=reply, critique=text)
        for (asked, reply), texts in zip(items, critiques, strict=True)
        for text in texts
    ]
    replies = iter(model.generate(prompts, sampling))
    found: list[list[float | None]] = []
    for texts in critiques:
        ratings = [parse_rating(next(replies)[0].text) for _ in texts]
        found.append([None if rating is None else float(rating) for rating in ratings])
    return found


def summarise_critiques(
    model: Generates, items: Sequence[Item], critiques: Sequence[Sequence[str]], *, dialect: Dialect, sampling: Sampling
) -> list[list[str]]:
    """Up to `sampling.n` summaries of the critiques of each reply, different ones only. A model that follows no instructions cannot sum up;
    its critiques are put to the vote step by step, which gives one."""
    if not follows_instructions(dialect):
        voted = [majority_text(texts) for texts in critiques]
        return [[] if text is None else [text] for text in voted]
    prompts = [render_summary(asked=a, response=r, critiques=texts) for (a, r), texts in zip(items, critiques, strict=True)]
    groups = model.generate(prompts, sampling)
    return [list(dict.fromkeys(text for c in group if (text := parse_summary(c.text)) is not None)) for group in groups]


def noisy_critiques(
    solutions: Sequence[Solution],
    *,
    criticise: Callable[[Problem, str], list[tuple[str, bool]] | None] | None,
    render: Callable[[Problem], Prompt],
    dialect: Dialect,
    noise: float,
    rng: random.Random,
) -> list[Example]:
    """What an imperfect critic learns from: the critiques of `criticise`, each mark turned round with probability `noise`, each with its
    score, under the prompt that asks for them. Solutions that cannot be criticised are left out."""
    examples: list[Example] = []
    for x in solutions:
        marks = None if criticise is None else criticise(x.problem, x.text)
        if marks is None:
            continue
        text, score = marked_steps([(step, right != (rng.random() < noise)) for step, right in marks])
        prompt = render_evaluation(dialect, asked=render(x.problem), response=x.text, steps=True)
        origin = Origin(step="noisy critiques", parents=(x.id,))
        examples.append(Example(prompt=prompt, completion=with_score(dialect, text, score), origin=origin))
    return examples


class ScoringCritic:
    """The critic's own mean score over `sampling.n` critiques as a reward: the same model as a pointwise judge."""

    def __init__(self, model: Generates, *, dialect: Dialect, sampling: Sampling, steps: bool) -> None:
        self._model, self._dialect, self._sampling, self._steps = model, dialect, sampling, steps

    def rate(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> list[float | None]:
        """None where no score could be read."""
        items = list(zip(prompts, replies, strict=True))
        groups = evaluate_replies(self._model, items, dialect=self._dialect, sampling=self._sampling, steps=self._steps)
        return [mean_score([e for e in group if e is not None]) for group in groups]


def mean_score(evaluations: Sequence[Evaluation]) -> float | None:
    return sum(e.score for e in evaluations) / len(evaluations) if evaluations else None
