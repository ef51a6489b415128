"""Reward models and classifiers."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def bradley_terry(chosen: Tensor, rejected: Tensor, margins: Tensor, *, centring: float = 0.0) -> Tensor:
    """-log sigmoid(s_chosen - s_rejected - margin) + centring (s_chosen + s_rejected)^2, (pairs,).

    Touvron et al. 2023 (Llama 2), eq. 2; the centring of Eisenstein et al. 2023, eq. 2, keeps scores around zero.
    """
    value = -F.logsigmoid(chosen - rejected - margins)
    return value + centring * (chosen + rejected).square() if centring else value


def headed_bradley_terry(chosen: Tensor, rejected: Tensor, margins: Tensor, *, centring: float = 0.0, reward_head: Tensor) -> Tensor:
    """`bradley_terry` where the scores come from a head of the term's own: (pairs, width) states and (width, 1)."""
    return bradley_terry((chosen @ reward_head).squeeze(-1), (rejected @ reward_head).squeeze(-1), margins, centring=centring)


def score_wins(chosen: Tensor, rejected: Tensor, margins: Tensor, *, centring: float = 0.0) -> dict[str, Tensor]:
    """Per pair: the difference of the scores, and whether the chosen one has the higher."""
    difference = chosen - rejected
    return {
        "score_margin": difference,
        "score_win_rate": (difference > 0).to(difference.dtype) + 0.5 * (difference == 0).to(difference.dtype),
    }


def classification(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p(class), (sequences,) from (sequences, classes) and (sequences,)."""
    return F.cross_entropy(logits, labels, reduction="none")
