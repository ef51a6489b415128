"""Losses on preferences: one value per pair. All inputs are log-probabilities in nats, summed over the completion."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def dpo(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, beta: float, smoothing: float = 0.0) -> Tensor:
    """-log sigmoid(beta m) with m = log(pi/ref)(chosen) - log(pi/ref)(rejected): Rafailov et al. 2023, eq. 7.

    With smoothing e: (1 - e) of that plus e of the flipped pair (Mitchell 2023, eq. 3). All (pairs,).
    """
    logits = beta * ((chosen - ref_chosen) - (rejected - ref_rejected))
    if smoothing:
        return -(1 - smoothing) * F.logsigmoid(logits) - smoothing * F.logsigmoid(-logits)
    return -F.logsigmoid(logits)


def implicit_rewards(
    chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, beta: float, **_: float
) -> dict[str, Tensor]:
    """Per pair: the implicit-reward margin in nats, whether the chosen one wins by it (a tie counts one half: before the first step
    every margin against the model itself is zero), and whether the policy itself finds the chosen completion likelier."""
    margin = beta * ((chosen - ref_chosen) - (rejected - ref_rejected))
    return {
        "reward_margin_nats": margin,
        "reward_win_rate": _wins(margin),
        "log_prob_win_rate": _wins(chosen - rejected),
    }


def _wins(difference: Tensor) -> Tensor:
    return (difference > 0).to(difference.dtype) + 0.5 * (difference == 0).to(difference.dtype)
