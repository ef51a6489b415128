"""Slow twins: every objective again, written in loops over single numbers from the paper's equation, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Row = list[Tensor]


def softmax(logits: Tensor, temperature: float = 1.0) -> Row:
    raised = [torch.exp((z - logits.max().detach()) / temperature) for z in logits]
    total = sum(raised)
    return [r / total for r in raised]


def kl(p: Row, q: Row) -> Tensor:
    return sum((a * (torch.log(a) - torch.log(b)) for a, b in zip(p, q, strict=True)), torch.zeros((), dtype=torch.float64))


def mix(p: Row, q: Row, share: float) -> Row:
    return [share * a + (1 - share) * b for a, b in zip(p, q, strict=True)]


def forward_kl(q: Row, p: Row) -> Tensor:
    return kl(p, q)


def reverse_kl(q: Row, p: Row) -> Tensor:
    return kl(q, p)


def jensen_shannon(beta: float) -> Callable[[Row, Row], Tensor]:
    def value(q: Row, p: Row) -> Tensor:
        if beta == 0:
            return kl(p, q)
        if beta == 1:
            return kl(q, p)
        m = mix(p, q, beta)
        return beta * kl(p, m) + (1 - beta) * kl(q, m)

    return value


def skewed_kl(alpha: float) -> Callable[[Row, Row], Tensor]:
    return lambda q, p: kl(p, mix(p, q, alpha))


def skewed_reverse_kl(alpha: float) -> Callable[[Row, Row], Tensor]:
    return lambda q, p: kl(q, mix(q, p, alpha))


def total_variation(q: Row, p: Row) -> Tensor:
    return sum((abs(a - b) for a, b in zip(p, q, strict=True)), torch.zeros((), dtype=torch.float64)) / 2


def dense(divergence: Callable[[Row, Row], Tensor], temperature: float = 1.0) -> Callable[[Tensor, Tensor], Tensor]:
    """One value per row of (rows, vocab) logits."""
    return lambda student, teacher: torch.stack(
        [divergence(softmax(s, temperature), softmax(t, temperature)) for s, t in zip(student, teacher, strict=True)]
    )


def sparse(divergence: Callable[[Row, Row], Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def value(student: Tensor, ids: Tensor, log_probs: Tensor) -> Tensor:
        out = []
        for s, top, known in zip(student, ids.tolist(), log_probs, strict=True):
            q = softmax(s)
            rest = sum((q[i] for i in range(len(q)) if i not in top), torch.zeros((), dtype=torch.float64))
            p = [torch.exp(x) for x in known]
            out.append(divergence([q[i] for i in top] + [rest], [*p, 1 - sum(p)]))
        return torch.stack(out)

    return value


def log_prob(logits: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([torch.log(softmax(z)[int(y)]) for z, y in zip(logits, labels, strict=True)])


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def each(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function of scalars applied to every place of its vectors."""
    return lambda *columns: torch.stack([function(*row) for row in zip(*columns, strict=True)])


def dpo(beta: float, smoothing: float = 0.0) -> Callable[..., Tensor]:
    def one(w: Tensor, l: Tensor, rw: Tensor, rl: Tensor) -> Tensor:  # noqa: E741  the paper's letters
        m = beta * ((w - rw) - (l - rl))
        return -(1 - smoothing) * torch.log(sigmoid(m)) - smoothing * torch.log(sigmoid(-m))

    return each(one)


def ipo(tau: float) -> Callable[..., Tensor]:
    return each(lambda w, l, rw, rl: ((w - l) - (rw - rl) - 1 / (2 * tau)) ** 2)  # noqa: E741


def ipo_per_token(tau: float) -> Callable[..., Tensor]:
    return each(lambda w, l, rw, rl, nw, nl: ((w / nw - l / nl) - (rw / nw - rl / nl) - 1 / (2 * tau)) ** 2)  # noqa: E741


def simpo(beta: float, gamma: float) -> Callable[..., Tensor]:
    return each(lambda w, l, nw, nl: -torch.log(sigmoid(beta / nw * w - beta / nl * l - gamma)))  # noqa: E741


def kto(beta: float, desirable: float, undesirable: float) -> Callable[..., Tensor]:
    def value(log_probs: Tensor, reference: Tensor, labels: Tensor, mismatched: Tensor) -> Tensor:
        z = max(0.0, sum(x.item() for x in mismatched) / len(mismatched))
        out = []
        for x, r, y in zip(log_probs, reference, labels, strict=True):
            weight = desirable if y > 0 else undesirable
            v = sigmoid(beta * ((x - r) - z)) if y > 0 else sigmoid(beta * (z - (x - r)))
            out.append(weight - weight * v)
        return torch.stack(out)

    return value


def bradley_terry(centring: float) -> Callable[..., Tensor]:
    return each(lambda c, r, m: -torch.log(sigmoid(c - r - m)) + centring * (c + r) ** 2)


def clipped(low: float, high: float) -> Callable[..., Tensor]:
    def one(x: Tensor, b: Tensor, a: Tensor) -> Tensor:
        rho = torch.exp(x) / torch.exp(b)
        at = rho.item()
        bounded = rho if 1 - low <= at <= 1 + high else torch.tensor(1 - low if at < 1 - low else 1 + high, dtype=x.dtype)
        plain, other = rho * a, bounded * a
        return -(plain if plain.item() <= other.item() else other)

    return each(one)


def shaped(gamma: float) -> Callable[..., Tensor]:
    return each(lambda x, b, a: -(torch.exp(x - b) / (torch.exp(x - b) + gamma)) * a)


def guided(best: float, worst: float, spare: float, clip: float = 0.2) -> Callable[..., Tensor]:
    """ThinkTuning's shaped ratio, with the stop-gradient as a number of its own."""

    def one(x: Tensor, b: Tensor, a: Tensor, foreign: Tensor) -> Tensor:
        held, advantage = math.exp(x.item()), a.item()
        if foreign.item() <= 0 or (advantage < 0 and held < spare):
            known = b if b.item() < 0 else x.detach()
            return clipped(clip, clip)(x[None], known[None], a[None])[0]
        gamma = best + (worst - best) * min(1.0, max(0.0, (4 - advantage) / 8))
        below = held + gamma
        if below <= 0:
            below = held / 1.0001
        elif below > 1:
            below = held / 0.9999
        return -a * torch.exp(x) / below

    return each(one)


def cosine(one: Tensor, other: Tensor) -> Tensor:
    out = []
    for a, b in zip(one, other, strict=True):
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        out.append(1 - dot / torch.sqrt(sum(x * x for x in a) * sum(y * y for y in b)))
    return torch.stack(out)


def projected_mse(one: Tensor, other: Tensor, projection: Tensor) -> Tensor:
    out = []
    for a, b in zip(one, other, strict=True):
        squares = [(sum(a[i] * projection[i, j] for i in range(len(a))) - b[j]) ** 2 for j in range(len(b))]
        out.append(sum(squares, torch.zeros((), dtype=torch.float64)) / len(b))
    return torch.stack(out)


def group_advantages(rewards: list[list[float]], *, by_std: bool, eps: float) -> list[list[float]]:
    out = []
    for group in rewards:
        mean = sum(group) / len(group)
        std = math.sqrt(sum((r - mean) ** 2 for r in group) / (len(group) - 1))
        out.append([(r - mean) / (std + eps) if by_std else r - mean for r in group])
    return out


def leave_one_out(rewards: list[list[float]]) -> list[list[float]]:
    return [[r - (sum(group) - r) / (len(group) - 1) for r in group] for group in rewards]


def supervised_contrast(temperature: float) -> Callable[[Tensor, Tensor], Tensor]:
    def values(vectors: Tensor, labels: Tensor) -> Tensor:
        units = [v / torch.sqrt((v * v).sum()) for v in vectors]
        charged = []
        for i, anchor in enumerate(units):
            others = [j for j in range(len(units)) if j != i]
            whole = sum((torch.exp((anchor * units[j]).sum() / temperature) for j in others), torch.zeros((), dtype=torch.float64))
            positives = [j for j in others if labels[j] == labels[i]]
            shares = [torch.log(torch.exp((anchor * units[j]).sum() / temperature) / whole) for j in positives]
            charged.append(-sum(shares, torch.zeros((), dtype=torch.float64)) / max(1, len(positives)) + 0 * anchor.sum())
        return torch.stack(charged)

    return values
