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


def ipo(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, tau: float) -> Tensor:
    """(m - 1 / (2 tau))^2 with DPO's m: Azar et al. 2023, eq. 17. (pairs,)"""
    return ((chosen - ref_chosen) - (rejected - ref_rejected) - 1.0 / (2.0 * tau)).square()


def ipo_per_token(
    chosen: Tensor,
    rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    chosen_tokens: Tensor,
    rejected_tokens: Tensor,
    *,
    tau: float,
) -> Tensor:
    """`ipo` on log-probabilities divided by the length of each completion, as other trainers do."""
    return ipo(chosen / chosen_tokens, rejected / rejected_tokens, ref_chosen / chosen_tokens, ref_rejected / rejected_tokens, tau=tau)


def simpo(chosen: Tensor, rejected: Tensor, chosen_tokens: Tensor, rejected_tokens: Tensor, *, beta: float, gamma: float) -> Tensor:
    """-log sigmoid(beta (log pi(w) / |w| - log pi(l) / |l|) - gamma): Meng et al. 2024, eq. 6. No reference. (pairs,)"""
    return -F.logsigmoid(beta * (chosen / chosen_tokens - rejected / rejected_tokens) - gamma)


def kto(
    log_probs: Tensor,
    reference: Tensor,
    labels: Tensor,
    mismatched: Tensor,
    *,
    beta: float,
    desirable: float = 1.0,
    undesirable: float = 1.0,
) -> Tensor:
    """lambda_y - v(x, y): Ethayarajh et al. 2024, eq. 8. (sequences,); `labels` are 1 (desirable) or 0.

    The reference point z = max(0, mean of `mismatched` log ratios) carries no gradient and is shared by the window: a coupled term.
    """
    gain = log_probs - reference
    z = mismatched.detach().mean().clamp(min=0.0)
    good = desirable * (1.0 - (beta * (gain - z)).sigmoid())
    bad = undesirable * (1.0 - (beta * (z - gain)).sigmoid())
    return good.where(labels > 0, bad)
