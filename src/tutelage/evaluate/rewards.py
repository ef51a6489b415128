"""Score a reward model on problems that carry marked solutions: does the right one get the higher reward?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

from tutelage.errors import DataError
from tutelage.evaluate.fingerprint import fingerprint_of
from tutelage.evaluate.verdicts import scorecard
from tutelage.prompts.wording import Wording
from tutelage.records import Problem, Prompt, Scorecard, Verdict
from tutelage.tasks.task import Task

Rate = Callable[[Sequence[Prompt], Sequence[str]], list[float | None]]
"""(prompts, replies) -> rewards; None where a reply could not be rated."""


def evaluate_reward(
    rate: Rate,
    *,
    name: str,
    task: Task,
    problems: Sequence[Problem],
    wording: Wording,
    model_id: str,
    seed: int = 0,
    arm: str = "",
) -> Scorecard:
    """Pair accuracy: per problem the share of (right, wrong) pairs of its solutions in which the right one has the higher reward, ties as
    half; the mean over problems. A problem of which no pair could be rated counts as unparsed and scores 0."""
    marked = [p for p in problems if {bool(s["right"]) for s in p.context.get("solutions", ())} == {True, False}]
    if not marked:
        raise DataError(
            f"task '{task.name}' has no problem with a right and a wrong solution to compare",
            got=f"{len(problems)} test problems",
            fix="use a task whose problems carry marked solutions, such as gsm8k-marked",
        )
    asked = [(wording.plain(p), str(s["text"])) for p in marked for s in p.context["solutions"]]
    rewards = iter(rate([prompt for prompt, _ in asked], [text for _, text in asked]))
    verdicts: list[Verdict] = []
    for problem in marked:
        found = [(bool(s["right"]), next(rewards)) for s in problem.context["solutions"]]
        wins = won_pairs([r for right, r in found if right], [r for right, r in found if not right])
        verdicts.append(Verdict(score=sum(wins) / len(wins) if wins else 0.0, parsed=bool(wins)))
    fingerprint = fingerprint_of(task, marked, asked=[p.id for p, _ in asked], shots=0, decoding={"pairs": "right over wrong"})
    return scorecard(
        verdicts, name=name, task=task, problems=marked, model_id=model_id, shots=0, fingerprint=fingerprint, seed=seed, arm=arm
    )


def won_pairs(right: Sequence[float | None], wrong: Sequence[float | None]) -> list[float]:
    """1, 0.5 or 0 for every rated pair of a right and a wrong reply: higher reward for the right one, a tie, or lower."""
    pairs = [(r, w) for r, w in product(right, wrong) if r is not None and w is not None]
    return [1.0 if r > w else 0.5 if r == w else 0.0 for r, w in pairs]


def pair_accuracy(groups: Sequence[Sequence[tuple[bool, float | None]]]) -> float | None:
    """Mean over questions of the share of won pairs, from (right, reward) of each question's replies; None where no pair was rated."""
    shares = [won_pairs([v for right, v in g if right], [v for right, v in g if not right]) for g in groups]
    means = [sum(won) / len(won) for won in shares if won]
    return sum(means) / len(means) if means else None
