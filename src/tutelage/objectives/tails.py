"""The divergences where only the teacher's k likeliest ids are known: those ids and one bucket for all the rest (the tail).

Without the tail bucket a student can put any mass outside the top k at no cost, and reverse KL collapses. With it every function here is
the divergence of two distributions over k + 1 outcomes, so it is at most the dense one (data processing) and zero when they agree.

Every function takes (tokens, vocab) student logits, (tokens, k) ids and (tokens, k) teacher log-probabilities, which may sum to less
than one, and returns (tokens,). Log-probabilities of a teacher cannot be given another temperature afterwards, so there is none here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.objectives import divergences as dense

_FLOOR = -100.0
"""exp of it is 0 in float32: an empty bucket costs nothing and has no gradient."""
_NEVER = -1e9


def forward_kl(student: Tensor, top_ids: Tensor, top_log_probs: Tensor) -> Tensor:
    """KL(p || q) over the top k and the tail."""
    q, p = buckets(student, top_ids, top_log_probs)
    return dense.kl(p, q)


def reverse_kl(student: Tensor, top_ids: Tensor, top_log_probs: Tensor) -> Tensor:
    """KL(q || p) over the top k and the tail."""
    q, p = buckets(student, top_ids, top_log_probs)
    return dense.kl(q, p)


def jensen_shannon(student: Tensor, top_ids: Tensor, top_log_probs: Tensor, *, beta: float = 0.5) -> Tensor:
    """GKD's Jensen-Shannon over the top k and the tail."""
    q, p = buckets(student, top_ids, top_log_probs)
    return dense.generalised_jensen_shannon(q, p, beta)


def skewed_kl(student: Tensor, top_ids: Tensor, top_log_probs: Tensor, *, alpha: float = 0.1) -> Tensor:
    """KL(p || alpha p + (1 - alpha) q) over the top k and the tail."""
    q, p = buckets(student, top_ids, top_log_probs)
    return dense.kl(p, dense.mixed(p, q, alpha))


def skewed_reverse_kl(student: Tensor, top_ids: Tensor, top_log_probs: Tensor, *, alpha: float = 0.1) -> Tensor:
    """KL(q || (1 - alpha) p + alpha q) over the top k and the tail."""
    q, p = buckets(student, top_ids, top_log_probs)
    return dense.kl(q, dense.mixed(q, p, alpha))


def total_variation(student: Tensor, top_ids: Tensor, top_log_probs: Tensor) -> Tensor:
    """Half the sum of |p - q| over the top k and the tail."""
    q, p = buckets(student, top_ids, top_log_probs)
    return dense.half_distance(q, p)


def buckets(student: Tensor, top_ids: Tensor, top_log_probs: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of student and teacher over the k ids and the tail, (tokens, k + 1) each."""
    logits = student if student.dtype == torch.float64 else student.float()
    whole = torch.logsumexp(logits, -1, keepdim=True)
    top = logits.gather(-1, top_ids) - whole
    # The tail from the ids that are in it: one minus the top would cancel where the top holds nearly everything.
    tail = torch.logsumexp(logits.scatter(-1, top_ids, _NEVER), -1, keepdim=True) - whole
    known = top_log_probs.to(logits.dtype)
    # What is missing to one is a small difference of large numbers where the top holds nearly everything; k numbers in float64 are cheap.
    rest = torch.log1p(-top_log_probs.double().exp().sum(-1, keepdim=True).clamp(max=1.0)).to(logits.dtype)
    return torch.cat([top, tail], -1).clamp(min=_FLOOR), torch.cat([known, rest], -1).clamp(min=_FLOOR)


def top_k(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k likeliest ids and their log-probabilities, (tokens, k) each."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    values, ids = wide.topk(min(k, wide.shape[-1]), -1)
    return ids, values - torch.logsumexp(wide, -1, keepdim=True)
