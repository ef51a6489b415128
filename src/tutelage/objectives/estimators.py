"""Divergence from single tokens: only the log-probability of the token that was drawn is known on the other side.

All take (tokens,) log-probabilities and return (tokens,); tokens are drawn from the student. r = other / student (Schulman 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor


def k1(student: Tensor, other: Tensor) -> Tensor:
    """-log r: unbiased for KL(student || other), may be negative. As a loss its expected gradient is zero; use `policy_kl` to train."""
    return student - other


def k2(student: Tensor, other: Tensor) -> Tensor:
    """(log r)^2 / 2: biased, never negative; its expected gradient is that of the reverse KL."""
    return 0.5 * (student - other).square()


def k3(student: Tensor, other: Tensor) -> Tensor:
    """r - 1 - log r: unbiased and never negative; as a loss its expected gradient is that of KL(other || student), the forward one."""
    log_ratio = other - student
    return torch.expm1(log_ratio) - log_ratio


def policy_kl(student: Tensor, other: Tensor) -> Tensor:
    """log q times the fixed k1: the policy gradient of KL(student || other), for distillation from log-probabilities."""
    return student * (student - other).detach()
