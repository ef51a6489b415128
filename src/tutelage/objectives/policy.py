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


def guided(
    log_probs: Tensor,
    behaviour: Tensor,
    advantages: Tensor,
    foreign: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    best: float = 0.001,
    worst: float = -0.001,
    reach: float = 4.0,
    spare: float = 0.01,
) -> Tensor:
    """The clipped term where `foreign` is 0; where it is 1 (a text that somebody else wrote or wrote on), -A pi / (sg[pi] + gamma(A)).

    Aswin et al. 2025 (ThinkTuning), advantage-aware shaping: gamma runs linearly from `best` at A = `reach` to `worst` at -`reach` and
    stays there beyond; equal ends make it a constant. A denominator under 0 is sg[pi] / 1.0001, one over 1 is sg[pi] / 0.9999. Where A < 0
    and pi < `spare` the clipped term stands, so that what is unlikely already is not pushed down. Behaviour log-probabilities of 0 are
    unknown: they are the student's own.
    """
    held = log_probs.detach()
    ordinary = clipped(log_probs, torch.where(behaviour < 0, behaviour, held), advantages, clip_low=clip_low, clip_high=clip_high)
    share = ((reach - advantages) / (2 * reach)).clamp(0.0, 1.0)
    likely = held.exp()
    below = likely + best + (worst - best) * share
    weight = torch.where(below <= 0, 1.0001, torch.where(below > 1, 0.9999, likely / below.clamp(min=torch.finfo(below.dtype).tiny)))
    shaped_ = -advantages * torch.exp(log_probs - held) * weight
    return torch.where((foreign > 0) & ~((advantages < 0) & (likely < spare)), shaped_, ordinary)


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
