"""What the single-token estimators of a divergence are, in expectation: exact sums over a small vocabulary, no sampling."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tutelage.objectives import divergences, estimators

VOCAB = 5


def logits(seed: int) -> Tensor:
    return 1.5 * torch.randn(VOCAB, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def expected_gradient(name: str, student: Tensor, teacher: Tensor) -> Tensor:
    """E over y drawn from the student of the gradient of the estimator's value at y; the drawing itself is not differentiated."""
    q, p = student.log_softmax(-1), teacher.log_softmax(-1)
    total = torch.zeros_like(student)
    for y in range(VOCAB):
        leaf = student.clone().requires_grad_()
        value = getattr(estimators, name)(leaf.log_softmax(-1)[y : y + 1], p[y : y + 1]).sum()
        (slope,) = torch.autograd.grad(value, leaf)
        total += q[y].exp() * slope
    return total


def analytic(function: str, student: Tensor, teacher: Tensor) -> Tensor:
    leaf = student.clone().requires_grad_()
    (slope,) = torch.autograd.grad(getattr(divergences, function)(leaf[None], teacher[None]).sum(), leaf)
    return slope


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("seed", range(10))
def test_expected_gradients_on_a_policy_of_five_tokens(seed: int) -> None:
    student, teacher = logits(seed), logits(seed + 100)
    reverse, forward = analytic("reverse_kl", student, teacher), analytic("forward_kl", student, teacher)
    assert apart(forward, reverse) > 0.05, "the two directions must be told apart here"
    assert apart(expected_gradient("k2", student, teacher), reverse) < 1e-3
    assert apart(expected_gradient("policy_kl", student, teacher), reverse) < 1e-3
    assert apart(expected_gradient("k3", student, teacher), reverse) > 0.05
    assert apart(expected_gradient("k3", student, teacher), forward) < 1e-3
    assert float(expected_gradient("k1", student, teacher).norm()) < 1e-12


@pytest.mark.parametrize("seed", range(10))
def test_expected_values(seed: int) -> None:
    student, teacher = logits(seed), logits(seed + 100)
    q, p = student.log_softmax(-1), teacher.log_softmax(-1)
    exact = float(divergences.reverse_kl(student[None], teacher[None]))
    for name, unbiased in (("k1", True), ("k3", True), ("k2", False)):
        mean = float((q.exp() * getattr(estimators, name)(q, p)).sum())
        assert (abs(mean - exact) < 1e-9) == unbiased, name


def test_drawn_tokens_give_the_expected_gradient() -> None:
    """The sampled k2 loss as training computes it: its mean over many draws is the analytic gradient, to what so many draws can tell."""
    student, teacher = logits(3), logits(103)
    drawn = torch.multinomial(student.softmax(-1), 400_000, replacement=True, generator=torch.Generator().manual_seed(0))
    leaf = student.clone().requires_grad_()
    values = estimators.k2(leaf.log_softmax(-1)[drawn], teacher.log_softmax(-1)[drawn])
    (slope,) = torch.autograd.grad(values.mean(), leaf)
    assert apart(slope, analytic("reverse_kl", student, teacher)) < 0.01
