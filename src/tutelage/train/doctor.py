"""The invariances of the losses on a user's own models: what `doctor --losses` prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tutelage.engine.digest import digest_of, inspect_folder
from tutelage.objectives import Objective, cross_entropy, dpo, forward_kl, jensen_shannon, reverse_kl, skewed_kl, sparse
from tutelage.records import Example, ModelRef, Pair, Prompt
from tutelage.train.batch import Batch
from tutelage.train.feeds import Site, group_of
from tutelage.train.network import Network
from tutelage.train.opening import context_of, open_student
from tutelage.train.oracle import Oracle
from tutelage.train.settings import FitSettings
from tutelage.train.step import Measured, charges_of, total
from tutelage.train.targets import Joined, Reference, Teacher, TopK
from tutelage.train.window import Group, count

SAME, NOTHING = 1e-4, 1e-5
"""Bars: two ways of computing one gradient; a gradient that theory says is zero, relative to one that is not. Wider than in the tests,
because a real model adds rounding of its own."""

_TEXTS = (
    ("What is seven times six?", "Seven times six is 42."),
    ("Name a colour.", "Red."),
    ("Write one sentence about rain.", "Rain fell on the roof all night, and in the morning the street was a small river."),
    ("Is eleven a prime number?", "Yes, it has no divisors but one and itself."),
)


@dataclass(frozen=True, kw_only=True)
class LossCheck:
    """One line of the table."""

    objective: str
    check: str
    measured: float
    """Relative, norm-wise."""
    bar: float

    @property
    def passed(self) -> bool:
        return self.measured <= self.bar


@dataclass(frozen=True, kw_only=True)
class LossTable:
    checks: tuple[LossCheck, ...]
    notes: tuple[str, ...]
    """What is special about the pair: table widths, shared tokens, layouts."""

    @property
    def passed(self) -> bool:
        return all(c.passed for c in self.checks)


def losses_table(student: Path, teacher: Path | None = None, *, settings: FitSettings | None = None) -> LossTable:
    """Gradients of a small window under every way of splitting, laying out and tiling it, on these two models.

    The gradient is taken at the input embeddings, through which everything passes. Without a teacher the student is its own, which leaves
    the checks of divergences to the zero that this must give. Raises what a fit with this pair would raise (unequal tokenizers, say).
    """
    chosen = settings or FitSettings(lr=1e-3)
    site = _site(student, chosen)
    other = teacher or student
    name = ModelRef(name=str(other), digest=digest_of(inspect_folder(other)), path=str(other))
    examples = [g for p, c in _TEXTS if (g := group_of(Example(prompt=Prompt.user(p), completion=c), site)) is not None]
    swapped = [Pair(prompt=Prompt.user(p), chosen=c, rejected=_TEXTS[i - 1][1]) for i, (p, c) in enumerate(_TEXTS)]
    pairs = [g for p in swapped if (g := group_of(p, site)) is not None]
    whole, top = Joined(Teacher(name), Reference()).open(site), TopK(name, 8).open(site)
    whole.prepare([*examples, *pairs])
    menu: list[tuple[str, Objective, Sequence[Group], Oracle]] = [
        ("cross_entropy", cross_entropy(), examples, whole),
        ("forward_kl", forward_kl(), examples, whole),
        ("reverse_kl", reverse_kl(), examples, whole),
        ("jensen_shannon", jensen_shannon(), examples, whole),
        ("skewed_kl", skewed_kl(), examples, whole),
        ("sparse reverse_kl", sparse(reverse_kl()), examples, top),
        ("dpo", dpo(), pairs, whole),
    ]
    checks: list[LossCheck] = []
    for label, objective, groups, oracle in menu:
        checks += _compared(label, objective, groups, oracle, site)
    checks += _zeros(student, examples, site)
    return LossTable(checks=tuple(checks), notes=tuple(_notes(site, whole)))


def _site(student: Path, settings: FitSettings) -> Site:
    opened, network = open_student(student, settings, device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    network.module.requires_grad_(False)
    network.inner.get_input_embeddings().weight.requires_grad_(True)
    return Site(
        network=network,
        digest=opened.digest,
        model=student,
        rendering=opened.rendering,
        settings=settings,
        seed=0,
        context_tokens=context_of(opened, settings),
    )


def _gradient(objective: Objective, parts: Sequence[Sequence[Group]], oracle: Oracle, site: Site, *, tile_bytes: int) -> Tensor:
    weight = site.network.inner.get_input_embeddings().weight
    weight.grad = None
    charges = charges_of(objective, site.network, oracle)
    groups = [g for part in parts for g in part]
    counts = {i: count(c.term, groups) for i, c in enumerate(charges)}
    for part in parts:
        measured = Measured(site.network, Batch(part, site.network.device), oracle, tile_bytes=tile_bytes)
        loss, _ = total(charges, measured, counts, 0.0)
        if loss is not None and loss.requires_grad:
            loss.backward()
    return torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()


def _compared(label: str, objective: Objective, groups: Sequence[Group], oracle: Oracle, site: Site) -> list[LossCheck]:
    tile = site.settings.tile_on(site.network.device.type)

    def by(size: int, tile_bytes: int = tile) -> Tensor:
        return _gradient(objective, [groups[i : i + size] for i in range(0, len(groups), size)], oracle, site, tile_bytes=tile_bytes)

    base = by(len(groups))
    # Where the student is its own teacher the gradient is rounding alone, and there is nothing to compare it with.
    scale = max(float(base.norm()), 1e-3 * float(_gradient(cross_entropy(), [groups], oracle, site, tile_bytes=tile).norm()))
    ways: list[tuple[str, Callable[[], Tensor]]] = [
        ("one example at a time", lambda: by(1)),
        ("two halves", lambda: by(2)),
        ("tiles of one token", lambda: by(len(groups), 1)),
        ("padded right", lambda: _laid_out(site.network, "right", lambda: by(len(groups)))),
        ("padded left", lambda: _laid_out(site.network, "left", lambda: by(len(groups)))),
        ("masked examples left out", lambda: _gradient(objective, [[*groups, *_masked(groups)]], oracle, site, tile_bytes=tile)),
    ]
    return [LossCheck(objective=label, check=name, measured=float((way() - base).norm()) / scale, bar=SAME) for name, way in ways]


def _masked(groups: Sequence[Group]) -> list[Group]:
    """A row more with weight zero: it must change nothing. Only for single rows; a pair has no weight."""
    return [Group(rows=(replace(groups[0].rows[0], weight=0.0),))] if len(groups[0].rows) == 1 else []


def _laid_out(network: Network, layout: str, work: Callable[[], Tensor]) -> Tensor:
    was = network.layout
    network.restore_attention()
    network.layout = layout
    try:
        return work()
    finally:
        network.layout = was
        network.claim_attention()


def _zeros(student: Path, groups: Sequence[Group], site: Site) -> list[LossCheck]:
    name = ModelRef(name=str(student), digest=site.digest, path=str(student))
    oracle = Teacher(name).open(site)
    tile = site.settings.tile_on(site.network.device.type)
    scale = float(_gradient(cross_entropy(), [groups], oracle, site, tile_bytes=tile).norm())
    found: list[LossCheck] = []
    for objective in (forward_kl(), reverse_kl(), jensen_shannon(), skewed_kl()):
        size = float(_gradient(objective, [groups], oracle, site, tile_bytes=tile).norm())
        found.append(LossCheck(objective=objective.terms[0].name, check="teacher is the student: zero", measured=size / scale, bar=NOTHING))
    return found


def _notes(site: Site, oracle: Oracle) -> list[str]:
    network, shared = site.network, oracle.shared
    notes: list[Any] = [
        f"student: {network.table} rows in the table, {network.tokenizer_ids} ids in the tokenizer, layout {network.layout}"
    ]
    if shared is not None:
        notes.append(
            f"compared on {shared.size} shared ids; left out: {shared.student_only} of the student, {shared.teacher_only} of the teacher"
        )
    return [*notes, *network.notes]


__all__ = ["LossCheck", "LossTable", "losses_table"]
