"""DAC-KL, its constant form and span correlation against twins in loops, in float64; and that the region cannot shrink to nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
import twins
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tutelage import objectives
from tutelage.errors import SettingsError
from tutelage.objectives import divergences, projection, revision

FP32, FP64 = 2e-5, 1e-10
FP32_OWN = 5e-4
"""Of the region's network: its gradient is the slope of steps that are 0.02 wide, so rounding of the mass counts fifty times."""
HARDNESS, LEAST, PENALTY = 0.02, 0.5, 0.01
SEEDS = st.integers(0, 10**6)


def numbers(seed: int, *shape: int, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * scale


def network(seed: int, classes: int = 4, width: int = 6) -> dict[str, Any]:
    shapes = {"inner": (2 * classes, width), "inner_bias": (1, width), "outer": (width, 2), "outer_bias": (1, 2)}
    return {name: numbers(seed + i, *shape) for i, (name, shape) in enumerate(shapes.items())}


# -- twins, one class at a time --------------------------------------------------------------------------------------------------


def one_within(student: Tensor, teacher: Tensor, label: int, low: Tensor, high: Tensor, *, keep_label: bool, penalty: float) -> Tensor:
    p, q = twins.softmax(teacher), twins.softmax(student)
    order = sorted(range(len(p)), key=lambda k: (-p[k].item(), k))
    inside: dict[int, Tensor] = {}
    reached = torch.zeros((), dtype=torch.float64)
    for k in order:
        before, reached = reached, reached + p[k]
        member = twins.sigmoid((reached - low) / HARDNESS) * twins.sigmoid((high - before) / HARDNESS)
        inside[k] = torch.ones((), dtype=torch.float64) if keep_label and k == label else member
    mass: Tensor = torch.stack([inside[k] * p[k] for k in order]).sum()
    if mass.item() < LEAST:
        lift = (LEAST - mass) / (1 - mass)
        inside = {k: m + (1 - m) * lift for k, m in inside.items()}
        mass = torch.stack([inside[k] * p[k] for k in order]).sum()
    also = torch.stack([inside[k] * q[k] for k in order]).sum()
    p_kept, q_kept = {k: inside[k] * p[k] / mass for k in order}, {k: inside[k] * q[k] / also for k in order}
    apart = [p_kept[k] * (torch.log(p_kept[k]) - torch.log(q_kept[k])) for k in order if inside[k].item() > 1e-25]
    return torch.stack(apart).sum() + penalty * (1 - mass)


def one_bounds(student: Tensor, teacher: Tensor, own: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    p, q = twins.softmax(teacher), [x.detach() for x in twins.softmax(student)]
    classes, width = own["inner"].shape[0] // 2, own["inner"].shape[1]
    top = sorted(range(len(p)), key=lambda k: -p[k].item())[:classes]
    floor = torch.tensor(-20.0, dtype=torch.float64)
    seen = [torch.maximum(torch.log(side[k]), floor) / 5 if k is not None else floor / 5
            for side in (p, q) for k in (*top, *[None] * (classes - len(top)))]  # fmt: skip
    hidden = []
    for j in range(width):
        z = sum(seen[i] * own["inner"][i, j] for i in range(2 * classes)) + own["inner_bias"][0, j]
        hidden.append(z * 0.5 * (1 + torch.erf(z / math.sqrt(2))))
    a, b = (sum(hidden[j] * own["outer"][j, c] for j in range(width)) + own["outer_bias"][0, c] for c in (0, 1))
    low = 0.5 * twins.sigmoid(a)
    return low, low + (1 - low) * twins.sigmoid(b)


def slow_dac(student: Tensor, teacher: Tensor, labels: Tensor, *matrices: Tensor) -> Tensor:
    own: dict[str, Tensor] = dict(zip(("inner", "inner_bias", "outer", "outer_bias"), matrices, strict=True))
    rows = zip(student, teacher, labels.tolist(), strict=True)
    return torch.stack([one_within(s, t, y, *one_bounds(s, t, own), keep_label=True, penalty=PENALTY) for s, t, y in rows])


def slow_clipped(low: float, high: float, *, keep_label: bool = True) -> Callable[..., Tensor]:
    ends = [torch.tensor(x, dtype=torch.float64) for x in (low, high)]
    return lambda student, teacher, labels: torch.stack(
        [one_within(s, t, y, *ends, keep_label=keep_label, penalty=0.0) for s, t, y in zip(student, teacher, labels.tolist(), strict=True)]
    )


def slow_spans(student: Tensor, teacher: Tensor) -> Tensor:
    out = []
    for s, t in zip(student, teacher, strict=True):
        (q0, q1), (p0, p1) = (twins.softmax(s[0]), twins.softmax(s[1])), (twins.softmax(t[0]), twins.softmax(t[1]))
        squares = [(a * b - c * d) ** 2 for a, b, c, d in zip(p0, p1, q0, q1, strict=True)]
        out.append(sum(squares, torch.zeros((), dtype=torch.float64)))
    return torch.stack(out)


# -- values and gradients --------------------------------------------------------------------------------------------------------


def compare(function: Callable[..., Tensor], twin: Callable[..., Tensor], trained: Sequence[Tensor], others: Sequence[Tensor]) -> None:
    """Gradients of a weighted sum, of every trained tensor, with a masked unit."""
    weights = numbers(5, trained[0].shape[0]).abs()
    weights[0] = 0.0
    for kind, bar in ((torch.float64, FP64), (torch.float32, FP32)):
        found = []
        for call, precision in ((function, kind), (twin, torch.float64)):
            leaves = [x.detach().to(kind).to(precision).clone().requires_grad_() for x in trained]
            values = call(*leaves, *[x.to(kind).to(precision) if x.is_floating_point() else x for x in others])
            (values * weights.to(precision)).sum().backward()
            found.append((values.detach().double(), [x.grad.double() for x in leaves if x.grad is not None]))
        (value, slopes), (exact, wanted) = found
        assert float((value - exact).abs().max()) <= bar * max(1.0, float(exact.abs().max()))
        for place, (slope, right) in enumerate(zip(slopes, wanted, strict=True)):
            limit = FP32_OWN if place and kind == torch.float32 else bar
            # A slope of a divergence is of the size of p - q; far below that, what is left of it in float32 is rounding.
            least = 0.05 if kind == torch.float32 else 1e-3
            assert float((slope - right).norm()) <= limit * max(float(right.norm()), least)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, rows=st.integers(2, 4), vocab=st.integers(3, 9))
def test_learned_region(seed: int, rows: int, vocab: int) -> None:
    own = network(seed + 2)

    def fast(student: Tensor, *rest: Tensor) -> Tensor:
        *matrices, teacher, labels = rest
        held: dict[str, Any] = dict(zip(own, matrices, strict=True))
        return revision.dac_kl(student, teacher, labels, **held)

    def slow(student: Tensor, *rest: Tensor) -> Tensor:
        *matrices, teacher, labels = rest
        return slow_dac(student, teacher, labels, *matrices)

    labels = torch.arange(rows) % vocab
    compare(fast, slow, [numbers(seed, rows, vocab), *own.values()], [numbers(seed + 1, rows, vocab, scale=2.0), labels])


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.95), (0.3, 0.6), (0.49, 0.5)])
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, vocab=st.integers(3, 9))
def test_constant_region(low: float, high: float, seed: int, vocab: int) -> None:
    others = [numbers(seed + 1, 3, vocab, scale=2.0), torch.arange(3) % vocab]
    compare(partial(revision.clipped_kl, low=low, high=high), slow_clipped(low, high), [numbers(seed, 3, vocab)], others)
    loose = partial(revision.clipped_kl, low=low, high=high, keep_label=False)
    compare(loose, slow_clipped(low, high, keep_label=False), [numbers(seed, 3, vocab)], others)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, rows=st.integers(2, 4), vocab=st.integers(2, 8))
def test_span_correlation(seed: int, rows: int, vocab: int) -> None:
    compare(revision.span_correlation, slow_spans, [numbers(seed, rows, 2, vocab)], [numbers(seed + 1, rows, 2, vocab)])


def test_all_classes_are_the_forward_kl_and_equal_models_are_charged_nothing() -> None:
    student, teacher, labels = numbers(0, 6, 30), numbers(1, 6, 30), torch.arange(6)
    whole = revision.clipped_kl(student, teacher, labels, low=-1.0, high=2.0)
    torch.testing.assert_close(whole, divergences.forward_kl(student, teacher), rtol=1e-6, atol=1e-9)
    for seed in range(5):
        leaf = teacher.clone().requires_grad_()
        same = revision.dac_kl(leaf, teacher, labels, **network(seed), penalty=0.0)
        assert same.abs().max().item() < 1e-9
        (slope,) = torch.autograd.grad(same.sum(), leaf)
        assert slope.abs().max().item() < 1e-9
    pairs = numbers(2, 4, 2, 9)
    assert float(revision.span_correlation(pairs, pairs).abs().max()) == 0.0


def test_the_label_and_half_of_the_mass_always_stay() -> None:
    for seed in range(30):
        teacher, labels = numbers(seed, 8, 40, scale=1 + seed % 4), torch.arange(8) * 5
        bounds = (numbers(seed + 1, 8).abs().clamp(max=0.49), numbers(seed + 1, 8).abs().clamp(max=0.49) + 1e-3)
        inside, kept = revision.dense_classes(teacher, labels, *bounds, hardness=HARDNESS, least_mass=LEAST, keep_label=True)
        assert (inside.gather(-1, labels[:, None]) == 1).all()
        assert (kept >= LEAST - 1e-9).all()
        assert (inside >= 0).all()
        assert (inside <= 1 + 1e-12).all()


# -- the degenerate solution -----------------------------------------------------------------------------------------------------


def alone(scale: float, least_mass: float, penalty: float, *, keep_label: bool) -> tuple[float, float, float]:
    """The region's network trained by its own loss on fixed distributions, texts drawn from the student: what is left of the whole forward
    KL, the mass that stays at the least, and the length of the student's gradient over that of the forward KL."""
    teacher = numbers(0, 128, 20, scale=scale)
    student = teacher + numbers(1, 128, 20, scale=2.0)
    labels = torch.multinomial(student.softmax(-1), 1, generator=torch.Generator().manual_seed(0))[:, 0]
    own = {n: ((0.0 if "bias" in n else x.shape[0] ** -0.5) * x).requires_grad_() for n, x in network(2, 8, 16).items()}
    optimiser = torch.optim.Adam(own.values(), lr=0.05)
    loss = partial(revision.dac_kl, least_mass=least_mass, keep_label=keep_label)
    for _ in range(200):
        optimiser.zero_grad()
        loss(student, teacher, labels, **own, penalty=penalty).mean().backward()
        optimiser.step()
    leaf = student.clone().requires_grad_()
    left, whole = loss(leaf, teacher, labels, **own, penalty=0.0).mean(), divergences.forward_kl(leaf, teacher).mean()
    (mine,), (plain,) = torch.autograd.grad(left, leaf, retain_graph=True), torch.autograd.grad(whole, leaf)
    with torch.no_grad():
        bounds = revision.learned_bounds(student, teacher, **own)
        _, kept = revision.dense_classes(teacher, labels, *bounds, hardness=HARDNESS, least_mass=least_mass, keep_label=keep_label)
    return left.item() / whole.item(), kept.min().item(), mine.norm().item() / plain.norm().item()


@pytest.mark.parametrize("scale", [1.5, 3.0])
def test_without_its_guards_the_network_removes_the_loss_and_with_them_it_cannot(scale: float) -> None:
    """Alone it keeps one class per token, on which both sides agree trivially; the teacher here is once unsure and once sure."""
    left, kept, slope = alone(scale, 1e-6, 0.0, keep_label=False)
    assert left < 0.01
    assert kept < 0.2
    assert slope < 0.05
    left, kept, slope = alone(scale, LEAST, PENALTY, keep_label=True)
    assert left > 0.5
    assert kept >= LEAST - 1e-9
    assert slope > 0.9


# -- tiles, and the menu ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["learned", "constant", "neighbours"])
def test_tiles_change_neither_values_nor_any_gradient(kind: str, bias: bool) -> None:
    rows, width, vocab = 11, 6, 40
    results = []
    for tile_bytes in (10**9, 4 * vocab * 6, 1):
        hidden, weight = numbers(1, rows, width).requires_grad_(), numbers(2, vocab, width).requires_grad_()
        shift = numbers(5, vocab).requires_grad_() if bias else None
        states, theirs, labels = numbers(3, rows, 4), projection.Head(numbers(4, vocab, 4)), torch.arange(rows) * 3 % vocab
        head, own = projection.Head(weight, shift), {n: x.requires_grad_() for n, x in network(7).items()}
        if kind == "neighbours":
            both = [torch.stack([x.roll(1, 0), x], 1) for x in (hidden, states)]
            values, owned = projection.by_tile(revision.span_correlation, both[0], head, (both[1], theirs), tile_bytes=tile_bytes), []
        elif kind == "learned":
            owned = list(own.values())
            learned = partial(revision.dac_kl, **own)
            values = projection.by_tile(learned, hidden, head, (states, theirs), [labels], own=owned, tile_bytes=tile_bytes)
        else:
            values, owned = projection.by_tile(revision.clipped_kl, hidden, head, (states, theirs), [labels], tile_bytes=tile_bytes), []
        (values * numbers(6, rows)).sum().backward()
        leaves = [x for x in (hidden, weight, shift, *owned) if x is not None]
        assert all(x.grad is not None for x in leaves)
        results.append((values.detach(), [x.grad for x in leaves]))
    for value, slopes in results[1:]:
        torch.testing.assert_close(value, results[0][0], rtol=1e-10, atol=1e-12)
        for slope, right in zip(slopes, results[0][1], strict=True):
            assert float((slope - right).norm()) <= FP64 * float(right.norm())
    assert all(float(g.norm()) > 0 for g in results[0][1])


def test_the_menu_refuses_regions_that_there_are_not() -> None:
    with pytest.raises(SettingsError, match="low < high"):
        objectives.clipped_kl(low=0.6, high=0.5)
    with pytest.raises(SettingsError, match="least_mass"):
        objectives.dac_kl(least_mass=1.0)
    assert objectives.span_correlation().terms[0].where == "in_span"
