"""How often each domain of a corpus is drawn, from how far a student lags there. Pure: the losses come from whoever measures them.

A rule says where its weights start and how they go on after a measurement. Losses and floors are mean nats per token on held-out texts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Protocol

from tutelage.errors import SettingsError

Weights = Mapping[str, float]
"""Domain -> share of the draws; they add up to 1."""


class Reweighing(Protocol):
    """A rule. `describe` holds all that could change the weights."""

    def start(self, losses: Weights, floor: Weights) -> dict[str, float]:
        """Before the first step, from losses that were measured then."""
        ...

    def after(self, weights: Weights, losses: Weights, floor: Weights) -> dict[str, float]:
        """Once an interval is over."""
        ...

    def describe(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """The same weights throughout: equal ones, or those given."""

    shares: Mapping[str, float] | None = None

    def start(self, losses: Weights, floor: Weights) -> dict[str, float]:
        return even(losses) if self.shares is None else shares_of(self.shares, losses)

    def after(self, weights: Weights, losses: Weights, floor: Weights) -> dict[str, float]:
        return dict(weights)

    def describe(self) -> dict[str, Any]:
        return {"rule": "constant", "shares": None if self.shares is None else dict(self.shares)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcessLoss:
    """w <- w exp(rate * excess), where the excess is the loss above the floor, never below 0; then mixed with equal weights.

    Xie et al. 2023 (DoReMi, arXiv 2305.10429), Algorithm 1, on measured losses instead of those of the training batch.
    """

    rate: float = 1.0
    smoothing: float = 0.1
    """Share of the equal weights (1e-3 in the paper)."""

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing <= 1:
            raise SettingsError("smoothing of domain weights must be in [0, 1]", got=self.smoothing)

    def start(self, losses: Weights, floor: Weights) -> dict[str, float]:
        return even(losses)

    def after(self, weights: Weights, losses: Weights, floor: Weights) -> dict[str, float]:
        raised = {name: self.rate * max(0.0, loss - floor.get(name, 0.0)) for name, loss in losses.items()}
        return _smoothed(_multiplied(weights, raised), self.smoothing)

    def describe(self) -> dict[str, Any]:
        return {"rule": "excess loss", **asdict(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PerplexityRatio:
    """Liu et al. 2024 (DDK, arXiv 2407.16154): weights follow exp(l_S / l_T), the ratio of the student's perplexity to the teacher's.

    Start: r_i = exp(ratio_i) / sum_j exp(ratio_j) (Eq. 1). Then psi_i = r_i exp(ratio_i) and
    r_i <- alpha psi_i / sum_j psi_j + (1 - alpha) / N (Eq. 2). The floor is the teacher's loss; a domain without one is held against
    perplexity 1.
    """

    alpha: float = 0.5
    """What is left to the student's lag; the rest is dealt out equally. 1 smooths nothing."""
    cap: float | None = None
    """Largest ratio that is told apart."""

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise SettingsError("alpha of domain weights must be in [0, 1]", got=self.alpha)
        if self.cap is not None and not self.cap > 1:
            raise SettingsError("a cap on perplexity ratios must be above 1, or None", got=self.cap)

    def start(self, losses: Weights, floor: Weights) -> dict[str, float]:
        return _multiplied(even(losses), self._ratios(losses, floor))

    def after(self, weights: Weights, losses: Weights, floor: Weights) -> dict[str, float]:
        return _smoothed(_multiplied(weights, self._ratios(losses, floor)), 1.0 - self.alpha)

    def describe(self) -> dict[str, Any]:
        return {"rule": "perplexity ratio", **asdict(self)}

    def _ratios(self, losses: Weights, floor: Weights) -> dict[str, float]:
        found = perplexity_ratios(losses, floor)
        return found if self.cap is None else {name: min(ratio, self.cap) for name, ratio in found.items()}


def perplexity_ratios(losses: Weights, floor: Weights) -> dict[str, float]:
    """exp(loss) / exp(floor) per domain, at most e^700."""
    return {name: math.exp(min(700.0, loss - floor.get(name, 0.0))) for name, loss in losses.items()}


def even(names: Mapping[str, Any]) -> dict[str, float]:
    """The same share for each."""
    return {name: 1.0 / len(names) for name in names}


def shares_of(amounts: Mapping[str, float], names: Mapping[str, Any]) -> dict[str, float]:
    """Amounts as shares of their sum, for exactly these domains."""
    if set(amounts) != set(names) or any(a < 0 for a in amounts.values()) or not sum(amounts.values()) > 0:
        raise SettingsError(
            "shares of domains must name each domain and be positive", got=dict(amounts), fix=f"the domains are {', '.join(names)}"
        )
    whole = math.fsum(amounts.values())
    return {name: amounts[name] / whole for name in names}


def mean_weights(history: Sequence[Weights]) -> dict[str, float]:
    """The mean of each domain's weight (what DoReMi hands on to the run proper)."""
    return {name: math.fsum(w[name] for w in history) / len(history) for name in history[0]} if history else {}


def movement(history: Sequence[Weights]) -> float:
    """Mean total variation between one interval's weights and the next's, in [0, 1]; 0 for fewer than two."""
    steps = [0.5 * math.fsum(abs(b[name] - a[name]) for name in a) for a, b in pairwise(history)]
    return math.fsum(steps) / len(steps) if steps else 0.0


def _multiplied(weights: Weights, exponents: Weights) -> dict[str, float]:
    """w exp(x), normalised; in logarithms, since exp(x) overflows where a student knows nothing."""
    logs = {name: (math.log(w) if w > 0 else -math.inf) + exponents[name] for name, w in weights.items()}
    top = max(logs.values())
    raised = {name: math.exp(x - top) for name, x in logs.items()}
    whole = math.fsum(raised.values())
    return {name: x / whole for name, x in raised.items()}


def _smoothed(weights: Weights, share: float) -> dict[str, float]:
    return {name: (1.0 - share) * w + share / len(weights) for name, w in weights.items()}
