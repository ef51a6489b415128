"""Reward models behind the back end: the numbers that training sees, what they can do, what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rewarding import CRITIQUES, PAIRS, compared, scalar_model, shared
from tutelage import backends
from tutelage.capabilities import Rewards, Sampling
from tutelage.engine.digest import OWN_FILE
from tutelage.records import Prompt
from tutelage.train import Compared, FitSettings, Fixed
from tutelage.train.batch import Batch
from tutelage.train.step import Measured
from windows import opened_site


@pytest.fixture(scope="module")
def critic() -> Path:
    return shared("critic")


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_a_scalar_model_gives_the_scores_that_training_compares(kind: str, tmp_path: Path) -> None:
    folder = scalar_model(tmp_path, kind=kind)
    ref = backends.resolve(f"hf:{folder}")
    assert backends.facts(ref).capabilities == {"embed", "reward", "train"}
    model = backends.open_backend(ref)
    assert isinstance(model, Rewards)
    found = model.reward([p.prompt for p in PAIRS] * 2, [p.chosen for p in PAIRS] + [p.rejected for p in PAIRS])
    chosen, rejected = found[:8], found[8:]
    assert all(c is not None and r is not None and c > r for c, r in zip(chosen, rejected, strict=True))
    site = opened_site(folder, FitSettings(lr=1e-3, head="class", classes=1))
    with torch.no_grad(), site.network.frozen():
        measured = Measured(site.network, Batch(Fixed(PAIRS).open(site).fixed, site.network.device), None, tile_bytes=1 << 20)
        torch.testing.assert_close(torch.tensor(chosen), measured.get("chosen_scores"), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(torch.tensor(rejected), measured.get("rejected_scores"), rtol=1e-4, atol=1e-5)


def test_a_critic_gives_the_scores_that_training_compares_and_still_writes(critic: Path) -> None:
    ref = backends.resolve(f"hf:{critic}")
    model = backends.open_backend(ref)
    rows = compared()
    better = model.reward([b.prompt for b, _ in rows], [b.completion for b, _ in rows])
    worse = model.reward([w.prompt for _, w in rows], [w.completion for _, w in rows])
    assert all(b > w for b, w in zip(better, worse, strict=True))
    site = opened_site(critic, FitSettings(lr=1e-3))
    from safetensors.torch import load_file

    head = load_file(critic / OWN_FILE)["critique_bradley_terry.reward_head"]
    with torch.no_grad(), site.network.frozen():
        measured = Measured(site.network, Batch(Compared(rows).open(site).fixed, site.network.device), None, tile_bytes=1 << 20)
        torch.testing.assert_close(torch.tensor(better), (measured.get("chosen_hidden") @ head)[:, 0], rtol=1e-4, atol=1e-5)
    written = model.generate([b.prompt for b, _ in rows], Sampling(max_tokens=20))
    assert [w[0].text.strip() for w in written] == [CRITIQUES[0]] * len(rows)


def test_what_is_longer_than_the_context_has_no_reward(critic: Path) -> None:
    model = backends.open_backend(backends.resolve(f"hf:{critic}"))
    long = Prompt.user("Alice says Bob lies. " * 400)
    found = model.reward([PAIRS[0].prompt, long, PAIRS[0].prompt], ["42", "42", "42"])
    assert found[1] is None
    assert found[0] == found[2] is not None
    assert model.reward([], []) == []
