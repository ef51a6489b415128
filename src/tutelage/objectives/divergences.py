"""How far the student's next-token distribution is from the teacher's. Nats; float32 or better; one value per token.

Every function takes (tokens, vocab) logits of the student, then of the teacher, over the same ids, and returns (tokens,). Both sides
are divided by `temperature` first; no factor of its square is added: weigh the term where a paper has one. Gradients reach both sides;
the loop hands in a teacher without any. p is the teacher, q the student.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def forward_kl(student: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """KL(p || q) = sum p (log p - log q), teacher to student: Hinton et al. 2015; covers all the teacher does."""
    return kl(_log_probs(teacher, temperature), _log_probs(student, temperature))


def reverse_kl(student: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """KL(q || p), student to teacher: Gu et al. 2024 (MiniLLM), eq. 1; seeks what the teacher does most."""
    return kl(_log_probs(student, temperature), _log_probs(teacher, temperature))


def jensen_shannon(student: Tensor, teacher: Tensor, *, beta: float = 0.5, temperature: float = 1.0) -> Tensor:
    """beta KL(p || m) + (1 - beta) KL(q || m) with m = beta p + (1 - beta) q: Agarwal et al. 2024 (GKD), eq. 1.

    At beta 0 and 1, where that is zero everywhere, the limits of its direction are meant: forward and reverse KL.
    """
    return generalised_jensen_shannon(_log_probs(student, temperature), _log_probs(teacher, temperature), beta)


def skewed_kl(student: Tensor, teacher: Tensor, *, alpha: float = 0.1, temperature: float = 1.0) -> Tensor:
    """KL(p || alpha p + (1 - alpha) q): Ko et al. 2024 (DistiLLM), eq. 4."""
    q, p = _log_probs(student, temperature), _log_probs(teacher, temperature)
    return kl(p, mixed(p, q, alpha))


def skewed_reverse_kl(student: Tensor, teacher: Tensor, *, alpha: float = 0.1, temperature: float = 1.0) -> Tensor:
    """KL(q || (1 - alpha) p + alpha q): Ko et al. 2024, section 3.1."""
    q, p = _log_probs(student, temperature), _log_probs(teacher, temperature)
    return kl(q, mixed(q, p, alpha))


def total_variation(student: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Half the sum of |p - q|: Wen et al. 2023 (f-Distill), eq. 9. In [0, 1]; symmetric."""
    return half_distance(_log_probs(student, temperature), _log_probs(teacher, temperature))


def kl(one: Tensor, other: Tensor) -> Tensor:
    """KL(one || other) of log-probabilities over the last dimension."""
    return F.kl_div(other, one, reduction="none", log_target=True).sum(-1)


def mixed(one: Tensor, other: Tensor, share: float) -> Tensor:
    """log(share one + (1 - share) other) of log-probabilities, share in (0, 1)."""
    return torch.logaddexp(one + math.log(share), other + math.log1p(-share))


def generalised_jensen_shannon(q: Tensor, p: Tensor, beta: float) -> Tensor:
    """`jensen_shannon` of log-probabilities."""
    if beta == 0.0:
        return kl(p, q)
    if beta == 1.0:
        return kl(q, p)
    middle = mixed(p, q, beta)
    return beta * kl(p, middle) + (1.0 - beta) * kl(q, middle)


def half_distance(q: Tensor, p: Tensor) -> Tensor:
    """`total_variation` of log-probabilities."""
    return 0.5 * (p.exp() - q.exp()).abs().sum(-1)


def _log_probs(logits: Tensor, temperature: float) -> Tensor:
    scaled = logits if temperature == 1.0 else logits / temperature
    return F.log_softmax(scaled if scaled.dtype == torch.float64 else scaled.float(), -1)
