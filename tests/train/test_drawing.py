"""Rollouts drawn otherwise than the student is trained: charged at the policy that drew them, or refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import digits

from checkpoints import tiny_checkpoint
from tutelage.errors import SettingsError
from tutelage.hashing import canonical
from tutelage.objectives import Objective, cross_entropy, grpo, guided_grpo, rloo
from tutelage.train import FitSettings, Fixed, Mixture, OnPolicy, Replay
from tutelage.train.batch import Batch
from tutelage.train.checks import check_drawing
from tutelage.train.loop import fit
from tutelage.train.step import Measured, charges_of, total
from tutelage.train.window import DRAWN_AT, Window, count
from windows import examples, off, opened_site

PROMPTS = [e.prompt for e in examples()[:4]]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("m") / "student")


def source(**options: Any) -> OnPolicy:
    return OnPolicy(PROMPTS, **{"max_tokens": 8, "samples": 4, "reward": digits, **options})


def charged(student: Path, objective: Objective, drawing: OnPolicy, **changes: Any) -> tuple[Any, Window, float, torch.Tensor]:
    """The site, the first window, and the loss and flat gradient of the objective on it."""
    site = opened_site(student, FitSettings(lr=1e-3, batch=4, **changes))
    window = drawing.open(site).next()
    assert window is not None
    charges = charges_of(objective, site.network, None)
    counts = {i: count(c.term, window.groups) for i, c in enumerate(charges)}
    measured = Measured(site.network, Batch(window.groups, site.network.device), None, tile_bytes=2**20)
    loss, _ = total(charges, measured, counts, 0.0)
    assert loss is not None
    loss.backward()
    return site, window, loss.item(), torch.cat([p.grad.flatten() for p in site.network.module.parameters() if p.grad is not None])


def by_hand(site: Any, window: Window, temperature: float, *, per: str) -> torch.Tensor:
    """The gradient of -A log pi, with pi the softmax of the logits over the temperature, by the module itself."""
    site.network.restore_attention()
    module = site.network.module
    module.zero_grad()
    terms = []
    for row in window.rows:
        logits = module(torch.tensor([row.ids])).logits[0, :, : site.network.tokenizer_ids] / temperature
        told = logits.log_softmax(-1)
        terms.append([-row.facts["advantages"][0] * told[i - 1, row.ids[i]] for i in row.charged])
    charged_tokens = [x for mine in terms for x in mine]
    whole = torch.stack(charged_tokens).sum() / len(charged_tokens if per == "token" else terms)
    whole.backward()
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


@pytest.mark.parametrize(("objective", "per"), [(grpo(per="token"), "token"), (rloo(), "sequence")], ids=["grpo", "rloo"])
def test_rollouts_of_another_temperature_are_charged_at_it(student: Path, objective: Objective, per: str) -> None:
    site, window, _, found = charged(student, objective, source(temperature=0.7))
    assert any(r.facts["advantages"][0] != 0 for r in window.rows)
    assert off(found, by_hand(site, window, 0.7, per=per)) < 1e-4
    assert off(found, by_hand(site, window, 1.0, per=per)) > 1e-2, "the temperature shows"


@pytest.mark.parametrize("changes", [{"temperature": 0.7}, {"temperature": 1.3}, {"precision": "bf16"}], ids=str)
def test_the_ratio_is_one_at_first_use_so_nothing_is_clipped(student: Path, changes: dict[str, Any]) -> None:
    drawing = source(**{k: v for k, v in changes.items() if k == "temperature"})
    settings = {k: v for k, v in changes.items() if k == "precision"}
    _, window, loss, _ = charged(student, grpo(per="token", clip_low=1e-9, clip_high=1e-9), drawing, **settings)
    advantages = [a for r in window.rows for a in r.facts["advantages"]]
    assert loss == pytest.approx(-math.fsum(advantages) / len(advantages), abs=1e-6)


def test_what_is_drawn_as_it_is_trained_or_remembered_keeps_the_samplers_log_probs(student: Path) -> None:
    plain, bf16 = (opened_site(student, FitSettings(lr=1e-3, batch=4, precision=p)) for p in ("fp32", "bf16"))
    for drawing, site, named in (
        (source(), plain, False), (source(), bf16, True), (source(temperature=0.7), plain, True), (source(reuse=2), bf16, False),
        (Replay(source(), capacity=8), bf16, False),
    ):  # fmt: skip
        window = drawing.open(site).next()
        assert window is not None
        assert {DRAWN_AT in r.facts for r in window.rows} == {named}
        assert all(x < 0 for r in window.rows for x in r.facts["behaviour_log_probs"])
    assert canonical(source().describe()) != canonical(source(temperature=0.7).describe())
    assert "charged" not in source().describe()


@pytest.mark.parametrize(
    ("drawing", "named"),
    [
        (source(top_p=0.9), "top_p=0.9"),
        (source(temperature=0, samples=1, advantage="reward"), "temperature=0"),
        (source(temperature=0.7, reuse=2), "temperature=0.7, reuse=2"),
        (Replay(source(temperature=0.7), capacity=8), "temperature=0.7, replayed"),
        (Mixture((Fixed(examples(), role="given"), 0.5), (source(top_p=0.5), 0.5)), "top_p=0.5"),
    ],
)
def test_what_no_policy_gradient_fits_is_refused_with_the_setting(student: Path, tmp_path: Path, drawing: Any, named: str) -> None:
    for objective in (grpo(), guided_grpo(), rloo()):
        with pytest.raises(SettingsError, match="cannot learn") as refused:
            check_drawing(objective, drawing)
        assert named in str(refused.value)
    check_drawing(cross_entropy(), drawing)
    with pytest.raises(SettingsError, match="cannot learn"):
        fit(model=student, source=drawing, objective=grpo(), settings=FitSettings(lr=1e-3, steps=1), seed=0, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
