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
    **changes: Any,
) -> tuple[float, torch.Tensor]:
    """Of one window. The weights are moved away from the reference first, where a preference's gradient tells more."""
    opened = Opened(model, records, objective, targets=targets, moved=moved, **changes)
    return opened.value_and_gradient(**{n: v for n, v in changes.items() if n == "size"})


class Opened:
    """A window on a model that is opened once and asked for its gradient in several ways."""

    def __init__(
        self,
        model: Path,
        records: Sequence[Example | Pair | Group],
        objective: Objective,
        *,
        targets: Targets | None = None,
        moved: float = 1.05,
        size: int | None = None,
        **changes: Any,
    ) -> None:
        self.settings = FitSettings(lr=1e-3, batch=len(records), **changes)
        torch.manual_seed(0)
        site = opened_site(model, self.settings)
        self.objective, self.network = objective, site.network
        self.oracle = (targets or Reference()).open(site)
        self.groups = [g for r in records if (g := r if isinstance(r, Group) else group_of(r, site)) is not None]
        if self.settings.head == "lm":
            self.oracle.prepare(self.groups)
        with torch.no_grad():
            for parameter in self.network.module.parameters():
                parameter.mul_(moved)
        self.charges = charges_of(objective, self.network, self.oracle)

    def value_and_gradient(
        self,
        *,
        size: int | None = None,
        layout: str | None = None,
        tile_bytes: int | None = None,
        micro_tokens: int | None = None,
        share: bool = False,
    ) -> tuple[float, torch.Tensor]:
        """`size` groups to a micro-batch where given, in another layout, in other tiles."""
        was = self.network.layout
        if layout is not None:
            self.network.restore_attention()
            self.network.layout = layout
        parameters = [*self.network.module.parameters(), *(p for c in self.charges for p in c.own.values())]
        for parameter in parameters:
            parameter.grad = None
        counts = {i: count(c.term, self.groups) for i, c in enumerate(self.charges)}
        padded = self.network.layout != "packed"
        parts = split(self.groups, self.objective, micro_tokens or self.settings.micro_tokens, padded=padded)
        if size is not None:
            parts = [self.groups[i : i + size] for i in range(0, len(self.groups), size)]
        value = 0.0
        for part in parts:
            tiles = tile_bytes or self.settings.tile_on("cpu")
            batch = Batch(part, self.network.device, share=share)
            measured = Measured(self.network, batch, self.oracle, tile_bytes=tiles)
            loss, _ = total(self.charges, measured, counts, 0.0)
            assert loss is not None
            loss.backward()
            value += loss.item()
        self.network.layout = was
        self.network.claim_attention()
        return value, torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])


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
