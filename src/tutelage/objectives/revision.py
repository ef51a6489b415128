"""A divergence on the classes where the teacher's mass lies densest, and the agreement of neighbouring predictions.

Liu et al. 2024, "Multi-Granularity Semantic Revision for Large Language Model Distillation", arXiv 2407.10068. Its sub-network, the axis
that it clips on and the distance between correlations are not published; they are our design. p is the teacher, q the student; (tokens,
vocab) logits over the same ids; (tokens,) out; nats; float32 or better.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_LOWEST = -20.0
"""Log-probabilities below this look the same to the sub-network."""
_SCALE = 5.0
"""What they are divided by there."""
_NONE = 1e-30


def dac_kl(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    inner: Tensor,
    inner_bias: Tensor,
    outer: Tensor,
    outer_bias: Tensor,
    hardness: float = 0.02,
    least_mass: float = 0.5,
    penalty: float = 0.01,
    keep_label: bool = True,
) -> Tensor:
    """KL(p_H || q_H) on the classes H inside a learned region [l, u] of the teacher's cumulative mass, plus `penalty` for mass left out.

    A two-layer network (inner (2M, width), outer (width, 2)) reads the log-probabilities of the teacher's M likeliest classes on both sides
    and gives l in (0, 0.5) and u in (l, 1). See `learned_bounds` and `clipped_kl`.
    """
    low, high = learned_bounds(student, teacher, inner=inner, inner_bias=inner_bias, outer=outer, outer_bias=outer_bias)
    return _within(student, teacher, labels, low, high, hardness, least_mass, penalty, keep_label)


def clipped_kl(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    low: float = 0.0,
    high: float = 0.95,
    hardness: float = 0.02,
    least_mass: float = 0.5,
    keep_label: bool = True,
) -> Tensor:
    """The same with a constant region: what the learned one must be better than."""
    l, u = (student.new_full((student.shape[0],), x, dtype=_wide(teacher).dtype) for x in (low, high))  # noqa: E741  the paper's letters
    return _within(student, teacher, labels, l, u, hardness, least_mass, 0.0, keep_label)


def span_correlation(student: Tensor, teacher: Tensor) -> Tensor:
    """sum_k (p_{i-1,k} p_{i,k} - q_{i-1,k} q_{i,k})^2, (tokens,) from (tokens, 2, vocab) logits at a token and the one before it."""
    together = [torch.softmax(_wide(z), -1).prod(-2) for z in (teacher, student)]
    return (together[0] - together[1]).square().sum(-1)


def learned_bounds(
    student: Tensor, teacher: Tensor, *, inner: Tensor, inner_bias: Tensor, outer: Tensor, outer_bias: Tensor
) -> tuple[Tensor, Tensor]:
    """(tokens,) l = 0.5 sigmoid(a) and u = l + (1 - l) sigmoid(b). The student's side is looked at, not learned through."""
    p, q = _log_probs(teacher), _log_probs(student.detach())
    most = inner.shape[0] // 2
    top, ids = p.topk(min(most, p.shape[-1]), -1)
    seen = [F.pad(x.clamp(min=_LOWEST), (0, most - x.shape[-1]), value=_LOWEST) / _SCALE for x in (top, q.gather(-1, ids))]
    hidden = F.gelu(torch.cat(seen, -1) @ inner.to(p.dtype) + inner_bias.to(p.dtype))
    a, b = (hidden @ outer.to(p.dtype) + outer_bias.to(p.dtype)).unbind(-1)
    low = 0.5 * torch.sigmoid(a)
    return low, low + (1.0 - low) * torch.sigmoid(b)


def dense_classes(
    teacher: Tensor, labels: Tensor, low: Tensor, high: Tensor, *, hardness: float, least_mass: float, keep_label: bool
) -> tuple[Tensor, Tensor]:
    """How far each class belongs to H, (tokens, vocab) in [0, 1], and the teacher's mass there, (tokens,).

    With classes in falling order of p and c_k their cumulative mass: sigmoid((c_k - l) / hardness) sigmoid((u - c_{k-1}) / hardness); 1
    for the label. Where less than `least_mass` would be kept, everything is let in by the share that makes it so much: without this floor
    the network keeps only classes where student and teacher agree already, and nothing is learned.
    """
    ordered, order = torch.sort(_log_probs(teacher), dim=-1, descending=True, stable=True)
    mass = ordered.exp()
    upto = mass.cumsum(-1)
    inside = torch.sigmoid((upto - low[:, None]) / hardness) * torch.sigmoid((high[:, None] - (upto - mass)) / hardness)
    if keep_label:
        inside = torch.where(order == labels[:, None], 1.0, inside)
    kept = (inside * mass).sum(-1)
    lift = ((least_mass - kept) / (1.0 - kept).clamp(min=1.0 - least_mass)).clamp(min=0.0)
    inside = inside + (1.0 - inside) * lift[:, None]
    return torch.zeros_like(inside).scatter(-1, order, inside), (inside * mass).sum(-1)


def _within(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    low: Tensor,
    high: Tensor,
    hardness: float,
    least_mass: float,
    penalty: float,
    keep_label: bool,
) -> Tensor:
    p, q = _log_probs(teacher), _log_probs(student)
    inside, kept = dense_classes(teacher, labels, low, high, hardness=hardness, least_mass=least_mass, keep_label=keep_label)
    # Membership cancels in the ratio of the renormalised distributions, so it never stands under a logarithm with them.
    apart = (inside * p.exp() * (p - q)).sum(-1) / kept
    also = torch.logsumexp(q + inside.clamp(min=_NONE).log(), -1)
    return apart - kept.log() + also + penalty * (1.0 - kept)


def _log_probs(logits: Tensor) -> Tensor:
    return F.log_softmax(_wide(logits), -1)


def _wide(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
