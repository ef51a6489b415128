"""Strengths from pairwise comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Strengths:
    """The Bradley-Terry model P(a beats b) = sigmoid(strength a - strength b)."""

    names: tuple[str, ...]
    """Sorted."""
    strengths: tuple[float, ...]
    """Natural-log scale, mean 0."""
    stderrs: tuple[float, ...]
    """Standard errors from the curvature of the posterior."""


def bradley_terry(games: Sequence[tuple[str, str, float]], *, prior_sd: float = 10.0) -> Strengths:
    """Strengths from (a, b, result) games, where result is 1 when a won, 0 when b won, 0.5 for a tie.

    A N(0, prior_sd) prior keeps players finite who won or lost everything, and puts unconnected groups around 0. Newton's method on a
    strictly convex function; the order of the games does not matter.
    """
    import numpy as np
    from scipy.special import expit

    if prior_sd <= 0:
        raise SettingsError("the prior of a Bradley-Terry fit needs a positive width", got=prior_sd)
    wrong = [g for g in games if g[0] == g[1] or not 0 <= g[2] <= 1]
    if wrong:
        raise SettingsError("a game needs two players and a result in [0, 1]", got=wrong[0])
    names = tuple(sorted({name for a, b, _ in games for name in (a, b)}))
    if not names:
        return Strengths(names=(), strengths=(), stderrs=())
    place = {name: i for i, name in enumerate(names)}
    size = len(names)
    won, played = np.zeros((size, size)), np.zeros((size, size))
    for a, b, result in games:
        won[place[a], place[b]] += result
        won[place[b], place[a]] += 1 - result
        played[place[a], place[b]] += 1
        played[place[b], place[a]] += 1

    precision = 1.0 / prior_sd**2
    strength = np.zeros(size)

    def cost(s: np.ndarray) -> float:
        return float((won * np.logaddexp(0.0, s[None, :] - s[:, None])).sum() + 0.5 * precision * (s @ s))

    def curvature(s: np.ndarray) -> np.ndarray:
        chance = expit(s[:, None] - s[None, :])
        weight = played * chance * (1 - chance)
        return np.diag(weight.sum(1)) - weight + precision * np.eye(size)

    for _ in range(100):
        chance = expit(strength[:, None] - strength[None, :])
        gradient = -(won - played * chance).sum(1) + precision * strength
        if float(np.abs(gradient).max()) < 1e-10:
            break
        step = np.linalg.solve(curvature(strength), gradient)
        scale = 1.0
        while cost(strength - scale * step) > cost(strength) and scale > 1e-6:  # a lopsided start may overshoot
            scale /= 2
        strength = strength - scale * step
    spread = np.sqrt(np.diag(np.linalg.inv(curvature(strength))))
    centred = strength - strength.mean()
    return Strengths(names=names, strengths=tuple(centred.tolist()), stderrs=tuple(spread.tolist()))
