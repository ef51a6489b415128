"""Values and gradients of every objective against its slow twin, on drawn inputs; and what theory says about each.

The bar is norm-wise: the gradient's distance to the twin's, over the twin's length. The unit is what the field gets wrong, so weights
per unit are drawn too.
"""

from __future__ import annotations

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
from tutelage.objectives import (
    contrastive,
    divergences,
    estimators,
    matching,
    policy,
    preferences,
    projection,
    revision,
    rewards,
    tails,
    tokens,
)

FP32, FP64 = 1e-5, 1e-10
DENSE: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "forward_kl": (divergences.forward_kl, twins.dense(twins.forward_kl)),
    "forward_kl, warm": (partial(divergences.forward_kl, temperature=2.0), twins.dense(twins.forward_kl, 2.0)),
    "reverse_kl": (divergences.reverse_kl, twins.dense(twins.reverse_kl)),
    "reverse_kl, warm": (partial(divergences.reverse_kl, temperature=2.0), twins.dense(twins.reverse_kl, 2.0)),
    "jensen_shannon 0": (partial(divergences.jensen_shannon, beta=0.0), twins.dense(twins.jensen_shannon(0))),
    "jensen_shannon 0.3": (partial(divergences.jensen_shannon, beta=0.3), twins.dense(twins.jensen_shannon(0.3))),
    "jensen_shannon 1": (partial(divergences.jensen_shannon, beta=1.0), twins.dense(twins.jensen_shannon(1))),
    "skewed_kl": (partial(divergences.skewed_kl, alpha=0.2), twins.dense(twins.skewed_kl(0.2))),
    "skewed_reverse_kl": (partial(divergences.skewed_reverse_kl, alpha=0.2), twins.dense(twins.skewed_reverse_kl(0.2))),
    "total_variation": (divergences.total_variation, twins.dense(twins.total_variation)),
}
SPARSE: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "forward_kl": (tails.forward_kl, twins.sparse(twins.forward_kl)),
    "reverse_kl": (tails.reverse_kl, twins.sparse(twins.reverse_kl)),
    "jensen_shannon": (tails.jensen_shannon, twins.sparse(twins.jensen_shannon(0.5))),
    "skewed_kl": (partial(tails.skewed_kl, alpha=0.2), twins.sparse(twins.skewed_kl(0.2))),
    "skewed_reverse_kl": (partial(tails.skewed_reverse_kl, alpha=0.2), twins.sparse(twins.skewed_reverse_kl(0.2))),
    "total_variation": (tails.total_variation, twins.sparse(twins.total_variation)),
}
# name: (objective, twin, number of trained columns, number of other columns); columns are log-probabilities
COLUMNS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], int, int]] = {
    "dpo": (partial(preferences.dpo, beta=0.3), twins.dpo(0.3), 2, 2),
    "dpo, conservative": (partial(preferences.dpo, beta=0.3, smoothing=0.1), twins.dpo(0.3, 0.1), 2, 2),
    "ipo": (partial(preferences.ipo, tau=0.2), twins.ipo(0.2), 2, 2),
    "k1": (estimators.k1, twins.each(lambda q, p: torch.log(torch.exp(q) / torch.exp(p))), 1, 1),
    "k2": (estimators.k2, twins.each(lambda q, p: torch.log(torch.exp(p) / torch.exp(q)) ** 2 / 2), 1, 1),
    "k3": (estimators.k3, twins.each(lambda q, p: torch.exp(p) / torch.exp(q) - 1 - torch.log(torch.exp(p) / torch.exp(q))), 1, 1),
    "policy_kl": (estimators.policy_kl, twins.each(lambda q, p: q * (q.detach() - p)), 1, 1),
    "cross_entropy": (tokens.negative_log_prob, twins.each(lambda q: -q), 1, 0),
    "bradley_terry": (partial(rewards.bradley_terry, centring=0.05), twins.bradley_terry(0.05), 2, 1),
    "grpo": (policy.clipped, twins.clipped(0.2, 0.2), 1, 2),
    "grpo, asymmetric": (partial(policy.clipped, clip_low=0.1, clip_high=0.5), twins.clipped(0.1, 0.5), 1, 2),
    "off_policy": (partial(policy.shaped, gamma=0.1), twins.shaped(0.1), 1, 2),
    "guided_grpo": (policy.guided, twins.guided(0.001, -0.001, 0.01), 1, 3),
    "guided_grpo, constant": (partial(policy.guided, best=0.1, worst=0.1, spare=0.0), twins.guided(0.1, 0.1, 0.0), 1, 3),
    "guided_grpo, steep": (partial(policy.guided, best=0.4, worst=-0.05, spare=0.3), twins.guided(0.4, -0.05, 0.3), 1, 3),
    "rloo": (policy.reinforce, twins.each(lambda x, a: -a * x), 1, 1),
}
SEEDS = st.integers(0, 10**6)


def numbers(seed: int, *shape: int, scale: float = 2.0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * scale


def slope(function: Callable[..., Tensor], trained: Sequence[Tensor], others: Sequence[Tensor], weights: Tensor) -> tuple[Tensor, Tensor]:
    leaves = [x.detach().clone().requires_grad_() for x in trained]
    values = function(*leaves, *others)
    assert values.shape == weights.shape
    if values.requires_grad:  # a twin that is clipped everywhere is constant
        (values * weights).sum().backward()
    return values.detach().double(), torch.cat([(x.grad if x.grad is not None else torch.zeros_like(x)).double().flatten() for x in leaves])


def off(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm().clamp(min=1e-12))


def compare(
    function: Callable[..., Tensor], twin: Callable[..., Tensor], trained: Sequence[Tensor], others: Sequence[Tensor], seed: int
) -> None:
    rows = trained[0].shape[0]
    weights = numbers(seed + 7, rows).abs()
    weights[0] = 0.0  # a masked unit
    for kind, bar in ((torch.float64, FP64), (torch.float32, FP32)):
        # The twin gets what float32 can hold, so that only the arithmetic is compared and not the rounding of the input.
        mine = [x.to(kind) for x in trained]
        beside = [x.to(kind) if x.is_floating_point() else x for x in others]
        value, gradient = slope(function, mine, beside, weights.to(kind))
        exact, wanted = slope(
            twin, [x.double() for x in mine], [x.double() if x.is_floating_point() else x for x in beside], weights.to(kind).double()
        )
        assert off(gradient, wanted) <= bar
        assert float((value - exact).abs().max()) <= bar * max(1.0, float(exact.abs().max()))


@pytest.mark.parametrize("name", DENSE)
@settings(max_examples=12, deadline=None)
@given(seed=SEEDS, rows=st.integers(5, 8), vocab=st.integers(3, 9))
def test_dense_divergences(name: str, seed: int, rows: int, vocab: int) -> None:
    function, twin = DENSE[name]
    compare(function, twin, [numbers(seed, rows, vocab, scale=1.0)], [numbers(seed + 1, rows, vocab)], seed)


@pytest.mark.parametrize("name", SPARSE)
@settings(max_examples=12, deadline=None)
@given(seed=SEEDS, rows=st.integers(5, 8), vocab=st.integers(4, 9), k=st.integers(1, 3))
def test_sparse_divergences(name: str, seed: int, rows: int, vocab: int, k: int) -> None:
    ids, log_probs = tails.top_k(numbers(seed + 1, rows, vocab), k)
    function, twin = SPARSE[name]
    compare(function, twin, [numbers(seed, rows, vocab, scale=1.0)], [ids, log_probs], seed)


@pytest.mark.parametrize("name", COLUMNS)
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, rows=st.integers(2, 6))
def test_functions_of_log_probabilities(name: str, seed: int, rows: int) -> None:
    function, twin, trained, others = COLUMNS[name]
    columns = [numbers(seed + i, rows, scale=0.7) for i in range(trained + others)]
    compare(function, twin, columns[:trained], columns[trained:], seed)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, rows=st.integers(2, 6))
def test_length_normalised_preferences(seed: int, rows: int) -> None:
    logs = [numbers(seed + i, rows) for i in range(4)]
    lengths = [numbers(seed + 9 + i, rows).abs().round() + 1 for i in range(2)]
    compare(partial(preferences.ipo_per_token, tau=0.2), twins.ipo_per_token(0.2), logs[:2], [*logs[2:], *lengths], seed)
    compare(partial(preferences.simpo, beta=2.0, gamma=0.5), twins.simpo(2.0, 0.5), logs[:2], lengths, seed)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, rows=st.integers(2, 6))
def test_kto(seed: int, rows: int) -> None:
    labels = (numbers(seed + 5, rows) > 0).double()
    others = [numbers(seed + 1, rows), labels, numbers(seed + 2, rows)]
    options = {"beta": 0.3, "desirable": 1.0, "undesirable": 1.5}
    compare(partial(preferences.kto, **options), twins.kto(**options), [numbers(seed, rows)], others, seed)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, rows=st.integers(2, 4), width=st.integers(2, 5))
def test_hidden_states_and_classes(seed: int, rows: int, width: int) -> None:
    compare(matching.cosine, twins.cosine, [numbers(seed, rows, width)], [numbers(seed + 1, rows, width)], seed)
    matrix = numbers(seed + 2, width, 3)
    trained, others = [numbers(seed, rows, width), matrix], [numbers(seed + 1, rows, 3)]
    compare(
        lambda h, m, t: matching.projected_mse(h, t, projection=m), lambda h, m, t: twins.projected_mse(h, t, m), trained, others, seed
    )
    labels = torch.arange(rows) % width
    compare(rewards.classification, lambda z, y: -twins.log_prob(z, y), [numbers(seed, rows, width)], [labels], seed)
    head = numbers(seed + 3, width, 1)
    scored = partial(rewards.headed_bradley_terry, centring=0.1, reward_head=head)

    def twin(c: Tensor, r: Tensor, m: Tensor) -> Tensor:
        return twins.bradley_terry(0.1)((c @ head.to(c.dtype))[:, 0], (r @ head.to(r.dtype))[:, 0], m)

    for kind, bar in ((torch.float64, FP64),):
        inputs = [numbers(seed, rows, width).to(kind), numbers(seed + 1, rows, width).to(kind)]
        margins, weights = numbers(seed + 2, rows).to(kind), torch.ones(rows, dtype=kind)
        assert off(slope(scored, inputs, [margins], weights)[1], slope(twin, inputs, [margins], weights)[1]) <= bar


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, rows=st.integers(2, 6), labels=st.integers(1, 4))
def test_supervised_contrast(seed: int, rows: int, labels: int) -> None:
    function = partial(contrastive.supervised_contrast, temperature=0.5)
    vectors, classes = numbers(seed, rows, 4), torch.arange(rows) % labels
    compare(function, twins.supervised_contrast(0.5), [vectors], [classes], seed)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(function(vectors[order], classes[order]), function(vectors, classes)[order])


def test_supervised_contrast_pulls_a_label_together_and_charges_nothing_for_a_lone_one() -> None:
    near, far = torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.0]]), torch.tensor([[1.0, 0.1], [-1.0, -0.1], [1.0, 0.0]])
    labels = torch.tensor([0, 0, 1])
    together, apart = (contrastive.supervised_contrast(v, labels, temperature=0.1) for v in (near, far))
    assert together[:2].max() < 1e-3
    assert apart[:2].min() > 0.5
    assert apart[:2].max() > 15
    assert together[2] == apart[2] == 0


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, groups=st.integers(1, 4), samples=st.integers(2, 5))
def test_advantages(seed: int, groups: int, samples: int) -> None:
    drawn = numbers(seed, groups, samples)
    for by_std in (True, False):
        mine = policy.group_advantages(drawn, by_std=by_std)
        torch.testing.assert_close(mine, torch.tensor(twins.group_advantages(drawn.tolist(), by_std=by_std, eps=1e-4), dtype=torch.float64))
    torch.testing.assert_close(policy.leave_one_out(drawn), torch.tensor(twins.leave_one_out(drawn.tolist()), dtype=torch.float64))
    assert policy.group_advantages(drawn[:, :1]).eq(0).all()
    assert policy.leave_one_out(drawn[:, :1]).eq(0).all()
    assert policy.group_advantages(torch.ones(2, 3)).abs().max() < 1e-6


@pytest.mark.parametrize("name", DENSE)
def test_a_student_that_equals_its_teacher_is_charged_nothing(name: str) -> None:
    same = numbers(0, 6, 50).float()
    function, _ = DENSE[name]
    value, gradient = slope(function, [same], [same], torch.ones(6))
    scale = float(function(same, numbers(1, 6, 50).float()).abs().max())
    assert float(value.abs().max()) <= 1e-6 * scale
    if name != "total_variation":  # its slope at zero distance is any subgradient
        assert float(gradient.abs().max()) <= 1e-6


def test_directions_on_an_asymmetric_case() -> None:
    """The teacher sits on one id, the student on all four: KL(p || q) = log 4 nearly, KL(q || p) is large."""
    teacher = torch.tensor([[20.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    student = torch.zeros(1, 4, dtype=torch.float64)
    forward, reverse = divergences.forward_kl(student, teacher).item(), divergences.reverse_kl(student, teacher).item()
    assert forward == pytest.approx(1.3863, abs=1e-3)
    assert reverse == pytest.approx(0.75 * 20 - 1.3863, abs=1e-3)
    assert divergences.jensen_shannon(student, teacher, beta=0.0).item() == pytest.approx(forward)
    assert divergences.jensen_shannon(student, teacher, beta=1.0).item() == pytest.approx(reverse)
    assert divergences.skewed_kl(student, teacher, alpha=1e-4).item() == pytest.approx(forward, rel=1e-3)
    assert divergences.skewed_reverse_kl(student, teacher, alpha=1e-6).item() > 5
    lean = divergences.jensen_shannon(student, teacher, beta=0.05).item() / 0.05
    assert abs(lean - forward) < abs(lean - reverse)
    ids, known = tails.top_k(teacher, 1)
    assert tails.forward_kl(student, ids, known).item() == pytest.approx(1.3863, abs=1e-3)
    assert tails.reverse_kl(student, ids, known).item() > 5


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, vocab=st.integers(4, 30), k=st.integers(1, 40))
def test_sparse_is_at_most_dense_and_equal_where_nothing_is_left_out(seed: int, vocab: int, k: int) -> None:
    student, teacher = numbers(seed, 5, vocab), numbers(seed + 1, 5, vocab)
    ids, known = tails.top_k(teacher, k)
    for name in ("forward_kl", "reverse_kl", "jensen_shannon", "total_variation"):
        coarse, fine = getattr(tails, name)(student, ids, known), getattr(divergences, name)(student, teacher)
        assert (coarse <= fine + 1e-9).all()
        if k >= vocab:
            torch.testing.assert_close(coarse, fine, rtol=1e-6, atol=1e-9)


def test_sparse_divergence_punishes_mass_in_the_tail() -> None:
    """Without a tail bucket a student that leaves the top k altogether would look better and better."""
    teacher = torch.tensor([[4.0, 3.0, 0.0, 0.0, 0.0]])
    ids, known = tails.top_k(teacher, 2)
    inside, outside = torch.tensor([[4.0, 3.0, 0.0, 0.0, 0.0]]), torch.tensor([[4.0, 3.0, 9.0, 0.0, 0.0]])
    for name in ("forward_kl", "reverse_kl", "jensen_shannon"):
        assert getattr(tails, name)(outside, ids, known).item() > getattr(tails, name)(inside, ids, known).item() + 0.1


TILED = {
    "log_probs": lambda h, head, t, y, n: projection.label_log_probs(h, head, y, tile_bytes=n),
    **{
        name: (lambda h, head, t, y, n, f=function: projection.by_tile(f, h, head, t, tile_bytes=n))
        for name, (function, _) in DENSE.items()
    },
    "sparse reverse_kl": lambda h, head, t, y, n: projection.by_tile(
        tails.reverse_kl, h, head, extras=tails.top_k(t[1].logits(t[0]), 3), tile_bytes=n
    ),
}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", TILED)
def test_tiles_change_neither_values_nor_gradients(name: str, bias: bool) -> None:
    tokens_, width, vocab = 11, 6, 40
    for kind, bar in ((torch.float64, FP64), (torch.float32, FP32)):
        results = []
        for tile_bytes in (10**9, 4 * vocab * 3, 1):
            hidden, weight = (
                numbers(1, tokens_, width, scale=1).to(kind).requires_grad_(),
                numbers(2, vocab, width, scale=1).to(kind).requires_grad_(),
            )
            shift = numbers(5, vocab).to(kind).requires_grad_() if bias else None
            teacher = (numbers(3, tokens_, 4).to(kind), projection.Head(numbers(4, vocab, 4).to(kind)))
            labels = torch.arange(tokens_) * 3 % vocab
            values = TILED[name](hidden, projection.Head(weight, shift), teacher, labels, tile_bytes)
            (values * numbers(6, tokens_).to(kind)).sum().backward()
            leaves = [x for x in (hidden, weight, shift) if x is not None]
            results.append((values.detach(), torch.cat([x.grad.flatten() for x in leaves if x.grad is not None])))
        for value, gradient in results[1:]:
            assert off(value.double(), results[0][0].double()) <= bar
            assert off(gradient.double(), results[0][1].double()) <= bar


def path(function: Callable[..., Tensor]) -> str:
    plain = function.func if isinstance(function, partial) else function
    return f"{plain.__module__}:{plain.__name__}"


ONE_BY_ONE = (
    preferences.ipo_per_token, preferences.simpo, preferences.kto, matching.cosine, matching.projected_mse, rewards.classification,
    rewards.headed_bradley_terry, contrastive.supervised_contrast,
    revision.dac_kl, revision.clipped_kl, revision.span_correlation,  # in test_revision.py
)  # fmt: skip
"""Compared in a test of their own."""


def test_every_function_on_the_menu_was_compared_with_a_twin() -> None:
    """A new objective is on the menu by its name in `__all__`, and fails here until a table above or a test of its own has it."""
    compared = {path(f) for table in (DENSE, SPARSE, COLUMNS) for f, *_ in table.values()} | {path(f) for f in ONE_BY_ONE}
    dense = [o() for name, o in _menu() if name not in ("sparse", "sampled_kl") and "teacher_logits" in o().terms[0].takes]
    offered = [
        *(o() for name, o in _menu() if name not in ("sparse", "sampled_kl")),
        *(objectives.sampled_kl(estimator=e) for e in ("k1", "k2", "k3", "policy_kl")),
        *(objectives.sparse(o) for o in dense if o.terms[0].function.startswith("tutelage.objectives.divergences")),
        objectives.ipo(per_token=True), objectives.grpo(kl=0.1), objectives.dpo(nll=0.1),
    ]  # fmt: skip
    functions = {term.function for objective in offered for term in objective.terms}
    assert functions <= compared, sorted(functions - compared)
    assert compared <= functions, sorted(compared - functions)


def _menu() -> list[tuple[str, Any]]:
    found = [(name, getattr(objectives, name)) for name in objectives.__all__]
    return [(name, o) for name, o in found if callable(o) and not isinstance(o, type)]


def test_a_divergence_to_the_reference_is_charged_where_the_reward_is() -> None:
    """In a mixture of given texts and rollouts k3 of tokens that the student did not draw estimates nothing."""
    assert [t.over for t in objectives.grpo(kl=0.1, over="own").terms] == ["own", "own"]
    assert [t.over for t in objectives.grpo(kl=0.1).terms] == ["", ""]


def test_a_shaped_ratio_leans_on_the_advantage() -> None:
    """The gradient is -A pi / (pi + gamma): rare tokens of good texts weigh less than common ones, those of bad texts are left to the
    clipped term, denominators that leave (0, 1] are held, and behaviour that is unknown is the student's own."""
    chance = torch.tensor([0.002, 0.5, 0.002, 0.5, 0.0005, 0.9999], dtype=torch.float64)
    log_probs = chance.log().requires_grad_()
    advantages = torch.tensor([4.0, 4.0, -4.0, -4.0, 1.0, 4.0], dtype=torch.float64)
    unknown, foreign = torch.zeros(6, dtype=torch.float64), torch.ones(6, dtype=torch.float64)
    (policy.guided(log_probs, unknown, advantages, foreign) / -advantages).sum().backward()
    assert log_probs.grad is not None
    gamma = 0.001 - 0.002 * (4 - 1) / 8
    wanted = [0.002 / 0.003, 0.5 / 0.501, 1.0, 0.5 / 0.499, 0.0005 / (0.0005 + gamma), 0.9999]
    assert log_probs.grad.tolist() == pytest.approx(wanted, rel=1e-9)
    released = policy.guided(log_probs, unknown, advantages, foreign, best=-0.001, worst=-0.001)
    assert (released / -advantages).tolist()[4] == pytest.approx(1.0001), "under 0"
    assert (released / -advantages).tolist()[0] == pytest.approx(2.0), "the released constant doubles what is rare"


def test_marked_and_other_tokens_are_charged_by_their_own_rules() -> None:
    log_probs = torch.tensor([-0.1, -0.1], dtype=torch.float64)
    behaviour = torch.tensor([-1.0, -1.0], dtype=torch.float64)
    both = policy.guided(log_probs, behaviour, torch.ones(2, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert both[0].item() == pytest.approx(-1.2), "clipped"
    assert both[1].item() == pytest.approx(-(held := 0.904837418035959) / (held + 0.001 - 0.002 * 3 / 8))
