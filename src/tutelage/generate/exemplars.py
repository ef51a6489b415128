"""Worked examples for a prompt, improved round by round: rewritten after what fails behind them, chosen by who will use them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from tutelage.records import Problem, Solution

Set = tuple[Solution, ...]


def search_exemplars(
    start: Sequence[Set],
    questions: Sequence[Problem],
    *,
    rounds: int,
    beam: int,
    minibatch: int,
    rewrite: Callable[[Set, Sequence[Problem], str], Sequence[Set]],
    right: Callable[[Set, Sequence[Problem]], int],
    rng: Random,
) -> tuple[list[Set], list[list[float]]]:
    """The best `beam` sets after the last round, best first, and per round the accuracy of all that stood to choice (LbT, Sec. 5).

    Each round draws a minibatch of questions, `rewrite` makes new sets of each kept one (it is told where by `round.place`), repeats are
    left out, and `right` counts the questions answered rightly behind a set. Ties keep the older set.
    """
    kept, history = [s for s in start if s], []
    for number in range(rounds if kept else 0):
        batch = rng.sample(list(questions), k=min(minibatch, len(questions)))
        new = [made for place, held in enumerate(kept) for made in rewrite(held, batch, f"{number}.{place}")]
        every = list({tuple((x.problem.text, x.text) for x in held): held for held in (*new, *kept)}.values())
        every.sort(key=lambda held: held not in kept)
        counts = [right(held, batch) for held in every]
        order = sorted(range(len(every)), key=lambda i: -counts[i])
        kept = [every[i] for i in order[:beam]]
        history.append([counts[i] / max(1, len(batch)) for i in order])
    return kept, history
