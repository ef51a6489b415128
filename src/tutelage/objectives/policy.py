"""Policy gradients: one value per token or sequence. Advantages and behaviour log-probabilities carry no gradient."""

from __future__ import annotations

import torch
from torch import Tensor


def clipped(log_probs: Tensor, behaviour: Tensor, advantages: Tensor, *, clip_low: float = 0.2, clip_high: float = 0.2) -> Tensor:
    """-min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A) with rho = pi / behaviour, (tokens,).

    Shao et al. 2024 (GRPO), eq. 3, per token; a larger `clip_high` is the asymmetric clipping of Yu et al. 2025 (DAPO), eq. 8.
    """
    ratio = torch.exp(log_probs - behaviour)
    return -torch.minimum(ratio * advantages, ratio.clamp(1.0 - clip_low, 1.0 + clip_high) * advantages)


def shaped(log_probs: Tensor, behaviour: Tensor, advantages: Tensor, *, gamma: float = 0.1) -> Tensor:
    """-f(rho) A with f(x) = x / (x + gamma), for tokens of another policy: Yan et al. 2025 (LUFFY), eq. 7.

    It lifts the gradient of tokens the student finds unlikely. Where the other policy's log-probability is unknown, hand in 0.
    """
    ratio = torch.exp(log_probs - behaviour)
    return -ratio / (ratio + gamma) * advantages


def reinforce(sequence_log_probs: Tensor, advantages: Tensor) -> Tensor:
    """-A log pi(y), (sequences,): with leave-one-out advantages Ahmadian et al. 2024 (RLOO), eq. 8."""
    return -advantages * sequence_log_probs


def group_advantages(rewards: Tensor, *, by_std: bool = True, eps: float = 1e-4) -> Tensor:
    """(groups, samples) rewards minus the group's mean, over its standard deviation (n - 1): Shao et al. 2024, section 4.1.2.

    Without the division: Liu et al. 2025 (Dr. GRPO). A group of one sample has no baseline and gets zeros.
    """
    if rewards.shape[1] < 2:
        return torch.zeros_like(rewards)
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / (rewards.std(1, keepdim=True) + eps) if by_std else centred


def leave_one_out(rewards: Tensor) -> Tensor:
    """(groups, samples) rewards minus the mean of the group's other samples: Ahmadian et al. 2024, eq. 8. One sample gets zero."""
    samples = rewards.shape[1]
    if samples < 2:
        return torch.zeros_like(rewards)
    return rewards - (rewards.sum(1, keepdim=True) - rewards) / (samples - 1)
