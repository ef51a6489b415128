"""Small training data, and the gradient of one window by every road the loop has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tutelage.engine.digest import digest_of, inspect_folder
from tutelage.objectives import Objective
from tutelage.records import Example, ModelRef, Pair, Prompt
from tutelage.train import FitSettings, Reference, Targets
from tutelage.train.batch import Batch
from tutelage.train.feeds import Site, group_of
from tutelage.train.opening import context_of, open_student
from tutelage.train.step import Measured, charges_of, total
from tutelage.train.window import Group, count, split

TEXTS = ("It is 42.", "No, he does not.", "Mon 8 8 ; Tue 3 1 => 1", "12", "the answer is 30 and the price of two lamps is 12", "=> 6")


def examples() -> list[Example]:
    return [
        Example(
            prompt=Prompt.user(f"Q : what is {i} times {i + 2} ?\nA :" * (1 + i % 3)), completion=TEXTS[i % len(TEXTS)], weight=1.0 + i % 2
        )
        for i in range(8)
    ]


def pairs() -> list[Pair]:
    return [
        Pair(prompt=Prompt.user(f"Q : what is {i} times {i + 2} ?\nA :" * (1 + i % 3)), chosen=TEXTS[i % 3], rejected=TEXTS[3 + i % 3])
        for i in range(8)
    ]


def ref(folder: Path) -> ModelRef:
    return ModelRef(name=f"hf:{folder.name}", digest=digest_of(inspect_folder(folder)), path=str(folder))


def off(one: torch.Tensor, other: torch.Tensor) -> float:
    """Norm-wise relative distance."""
    return float((one - other).norm() / other.norm())


def gradient(model: Path, records: Sequence[Example | Pair], objective: Objective, **changes: Any) -> torch.Tensor:
    """The gradient of one window of all records, flat."""
    return loss_and_gradient(model, records, objective, **changes)[1]


def loss_and_gradient(
    model: Path,
    records: Sequence[Example | Pair | Group],
    objective: Objective,
    *,
    targets: Targets | None = None,
    moved: float = 1.05,
    size: int | None = None,
    **changes: Any,
) -> tuple[float, torch.Tensor]:
    """Of one window; `size` groups to a micro-batch where given.

    The weights are moved away from the reference first, where a preference's gradient tells more.
    """
    settings = FitSettings(lr=1e-3, batch=len(records), **changes)
    torch.manual_seed(0)
    site = opened_site(model, settings)
    oracle = (targets or Reference()).open(site)
    groups = [g for r in records if (g := r if isinstance(r, Group) else group_of(r, site)) is not None]
    if settings.head == "lm":
        oracle.prepare(groups)
    network = site.network
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter.mul_(moved)
    charges = charges_of(objective, network, oracle)
    counts = {i: count(c.term, groups) for i, c in enumerate(charges)}
    parts = split(groups, objective, settings.micro_tokens, padded=network.layout != "packed")
    value = 0.0
    for part in parts if size is None else [groups[i : i + size] for i in range(0, len(groups), size)]:
        loss, _ = total(charges, Measured(network, Batch(part, network.device), oracle, tile_bytes=settings.tile_bytes), counts, 0.0)
        assert loss is not None
        loss.backward()
        value += loss.item()
    own = [p for c in charges for p in c.own.values()]
    return value, torch.cat([p.grad.flatten() for p in [*network.module.parameters(), *own] if p.grad is not None])


def opened_site(model: Path, settings: FitSettings) -> Site:
    """What a fit of this model has when it starts."""
    opened, network = open_student(model, settings, device=torch.device("cpu"))
    return Site(
        network=network,
        digest=opened.digest if settings.head == "lm" else "",
        model=model,
        rendering=opened.rendering,
        settings=settings,
        seed=0,
        context_tokens=context_of(opened, settings),
    )
