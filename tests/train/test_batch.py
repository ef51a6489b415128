"""In the shared layout a prompt that rows of a group have in common is computed once, and nothing changes by it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from checkpoints import FAMILIES, tiny_checkpoint
from tutelage.objectives import dpo
from tutelage.objectives.projection import label_log_probs
from tutelage.train import FitSettings, Fixed, Reference
from tutelage.train.batch import Batch
from tutelage.train.loop import fit
from tutelage.train.window import Group, Row
from windows import off, opened_site, pairs


def row(key: str, prompt: list[int], completion: list[int]) -> Row:
    ids = (*prompt, *completion)
    places = tuple(range(len(prompt), len(ids)))
    return Row(key=key, ids=ids, charged=places, spans=(1.0,) * len(places))


PROMPT = [30, 31, 32, 33, 34, 35, 36]
TOGETHER = (
    Group(rows=(row("a", PROMPT, [40, 41]), row("b", PROMPT, [40, 43, 44, 45]), row("c", PROMPT, [50]))),
    Group(rows=(row("d", PROMPT[:5], [40, 41, 2]), row("e", PROMPT[:4], [60, 61]))),
    Group(rows=(row("f", [70, 71], [72]), row("g", [70, 71], [73]))),
    Group(rows=(row("h", PROMPT, [80, 81]),)),
)


def test_shared_prompts_stand_once() -> None:
    batch = Batch(TOGETHER, torch.device("cpu"), share=True)
    apart = sum(len(r.ids) for r in batch.rows)
    assert len(batch.ids) == apart - 7 - 7 - 4
    assert batch.labels.tolist() == [i for r in batch.rows for i in r.ids[r.charged[0] :]]
    assert batch.ids[batch.last].tolist() == [r.ids[-1] for r in batch.rows]
    assert len(Batch(TOGETHER, torch.device("cpu")).ids) == apart


@pytest.mark.parametrize("family", FAMILIES)
def test_values_and_gradients_are_those_of_rows_apart(tmp_path: Path, family: str) -> None:
    site = opened_site(tiny_checkpoint(tmp_path / family, family), FitSettings(lr=1.0))
    network = site.network
    found = []
    for groups in (TOGETHER, tuple(Group(rows=(replace(r),)) for g in TOGETHER for r in g.rows)):
        network.module.zero_grad()
        batch = Batch(groups, network.device, share=True)
        hidden = network.states(batch).index_select(0, batch.predicting)
        values = label_log_probs(*network.projected(hidden, None), batch.labels)
        (values * torch.linspace(-1, 1, len(values))).sum().backward()
        found.append((values.detach(), torch.cat([p.grad.flatten() for p in network.module.parameters() if p.grad is not None])))
    assert off(found[0][0], found[1][0]) < 1e-5
    assert off(found[0][1], found[1][1]) < 1e-5


def test_a_fit_in_the_shared_layout_follows_the_packed_one(tmp_path: Path) -> None:
    student = tiny_checkpoint(tmp_path / "student")
    logs = []
    for layout in ("packed", "shared"):
        settings = FitSettings(lr=1e-3, batch=4, layout=layout)
        result = fit(
            model=student, source=Fixed(pairs()), objective=dpo(), targets=Reference(), settings=settings, seed=0, out=tmp_path / layout
        )
        logs.append([e["loss"] for e in result.log])
    assert logs[1] == pytest.approx(logs[0], rel=1e-4)
