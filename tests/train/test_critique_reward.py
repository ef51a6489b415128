"""The joint loss of a reward model that writes: gradients against a slow twin, weights over the last epoch, where the reward is read."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from checkpoints import tiny_checkpoint
from rewarding import PAIRS, compared
from tutelage.engine.digest import OWN_FILE, digest_of, facts_of, inspect_folder
from tutelage.errors import DataError
from tutelage.objectives import Ramp, critique_bradley_terry, cross_entropy
from tutelage.train import Compared, FitSettings
from tutelage.train.batch import Batch
from tutelage.train.loop import fit
from tutelage.train.step import Measured, charges_of, total
from tutelage.train.window import Group, count
from windows import off, opened_site


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("m") / "base", card={"dialect": "bbh"})


def groups_of(site) -> list[Group]:
    feed = Compared(compared()).open(site)
    return list(feed.fixed)


def flat(parameters) -> torch.Tensor:
    return torch.cat([p.grad.double().flatten() for p in parameters])


def twin(module, head, groups: list[Group], *, language: float, preference: float) -> torch.Tensor:
    """L = language L_c + preference L_r written out: every row read alone, every token looked up by itself."""
    critique, tokens, reward = torch.zeros((), dtype=torch.float64), 0, torch.zeros((), dtype=torch.float64)
    for group in groups:
        scores = []
        for row in group.rows:
            out = module(input_ids=torch.tensor([row.ids]), output_hidden_states=True)
            for place in row.charged:
                logits = out.logits[0, place - 1]
                critique = critique - (logits[row.ids[place]] - torch.log(torch.exp(logits).sum()))
                tokens += 1
            scores.append(out.hidden_states[-1][0, len(row.ids) - 1] @ head[:, 0])
        better, worse = scores
        reward = reward - torch.log(1 / (1 + torch.exp(-(better - worse - group.margin))))
    return language * critique / tokens + preference * reward / len(groups)


@pytest.mark.parametrize(("kind", "bar"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("size", [8, 1, 3])
def test_the_joint_loss_has_the_gradient_of_its_slow_twin(base: Path, kind: torch.dtype, bar: float, progress: float, size: int) -> None:
    objective = critique_bradley_terry(language=Ramp(start=0.9, end=0.0), preference=Ramp(start=0.1, end=1.0))
    torch.manual_seed(0)
    site = opened_site(base, FitSettings(lr=1e-3, batch=8))
    groups = groups_of(site)
    charges = charges_of(objective, site.network, None)
    head = charges[0].own["reward_head"]
    for module in (site.network.module, *charges):
        module.to(kind)
    parameters = [*site.network.module.parameters(), head]
    counts = {i: count(c.term, groups) for i, c in enumerate(charges)}
    for start in range(0, len(groups), size):
        measured = Measured(site.network, Batch(groups[start : start + size], site.network.device), None, tile_bytes=1 << 20)
        loss, _ = total(charges, measured, counts, progress)
        assert loss is not None
        loss.backward()
    ours = flat(parameters)
    site.network.restore_attention()
    for p in parameters:
        p.grad = None
    for module in (site.network.module, *charges):
        module.double()
    head = charges[0].own["reward_head"]
    twin(site.network.module, head, groups, language=0.9 * (1 - progress), preference=0.1 + 0.9 * progress).backward()
    assert off(ours, flat([*site.network.module.parameters(), head])) < bar


def test_only_critiques_are_charged_and_sides_keep_their_own_prompts(base: Path) -> None:
    site = opened_site(base, FitSettings(lr=1e-3))
    group, (better, worse) = groups_of(site)[3], compared()[3]
    assert [r.role for r in group.rows] == ["chosen", "rejected"]
    for row, example in zip(group.rows, (better, worse), strict=True):
        prompt = site.rendering.prompt_ids(example.prompt)
        assert row.ids[: row.start] == tuple(prompt)
        assert row.charged == tuple(range(len(prompt), len(row.ids)))
        assert row.ids[-1] == site.rendering.eos_id
    assert group.rows[0].ids[: group.rows[0].start] != group.rows[1].ids[: group.rows[1].start]


def test_a_side_that_does_not_fit_takes_the_pair_with_it(base: Path) -> None:
    rows = [(b, w) for b, w in compared()]
    long = (rows[0][0], type(rows[0][1])(prompt=rows[0][1].prompt, completion="Bob lies. " * 200))
    site = opened_site(base, FitSettings(lr=1e-3))
    assert len(Compared([long, *rows[1:]]).open(site).fixed) == len(rows) - 1
    assert site.dropped["longer than the context"] == 1
    with pytest.raises(DataError, match="compares an example with itself"):
        Compared([(rows[0][0], rows[0][0])])
    assert Compared(rows).describe() != Compared([(w, b) for b, w in rows]).describe()


def test_weights_of_the_last_epoch(base: Path, tmp_path: Path) -> None:
    """lambda falls from beta to 0 and 1 - lambda rises, step by step, and the loss is weighed by them."""
    objective = critique_bradley_terry(language=Ramp(start=0.9, end=0.0), preference=Ramp(start=0.1, end=1.0))
    settings = FitSettings(lr=1e-4, batch=2, epochs=1)
    result = fit(model=base, source=Compared(compared()), objective=objective, settings=settings, seed=0, out=tmp_path / "out")
    assert len(result.log) == 4
    for t, entry in enumerate(result.log):
        language = 0.9 * (1 - t / 4)
        terms = entry["terms"]
        weighed = language * terms["cross_entropy"] + (0.1 + 0.9 * t / 4) * terms["critique_bradley_terry"]
        assert entry["loss"] == pytest.approx(weighed, rel=1e-5)


def test_a_head_makes_another_model_and_leftovers_of_other_terms_do_not(base: Path, tmp_path: Path) -> None:
    settings = FitSettings(lr=1e-3, batch=8, epochs=1)
    out = tmp_path / "out"
    fit(model=base, source=Compared(compared()), objective=critique_bradley_terry(), settings=settings, seed=0, out=out)
    assert facts_of(inspect_folder(out)).capabilities == {"generate", "score", "embed", "reward", "train"}
    held = load_file(out / OWN_FILE)
    assert list(held) == ["critique_bradley_terry.reward_head"]
    before = digest_of(inspect_folder(out))
    from safetensors.torch import save_file

    save_file({"critique_bradley_terry.reward_head": held["critique_bradley_terry.reward_head"] + 1}, out / OWN_FILE)
    assert digest_of(inspect_folder(out)) != before
    save_file({"match_hidden_mse.projection": torch.zeros(3, 3)}, out / OWN_FILE)
    plain = inspect_folder(out)
    assert "reward" not in facts_of(plain).capabilities
    without = digest_of(plain)
    (out / OWN_FILE).unlink()
    assert digest_of(inspect_folder(out)) == without != before


def test_it_learns_to_write_and_to_rate(base: Path, tmp_path: Path) -> None:
    settings = FitSettings(lr=1e-2, batch=8, epochs=30, schedule="linear")
    source, objective = Compared(compared()), critique_bradley_terry()
    result = fit(model=base, source=source, objective=objective, settings=settings, seed=0, out=tmp_path / "out")
    first, last = result.log[0]["terms"], result.log[-1]["terms"]
    assert last["critique_bradley_terry"] < 0.1 < first["critique_bradley_terry"]
    assert last["cross_entropy"] < first["cross_entropy"] / 4
    assert math.isfinite(last["cross_entropy"])
    assert len(PAIRS) == 8
    assert cross_entropy().terms[0].weight == 1.0
