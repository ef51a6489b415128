"""Masks known before the forward pass, weights that switch, hooks that open with the fit, terms with parameters or neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import digits
from safetensors.torch import load_file

from checkpoints import tiny_checkpoint
from tutelage.errors import DataError, SettingsError
from tutelage.hashing import canonical
from tutelage.objectives import Objective, Ramp, Switch, cross_entropy, dac_kl, dpo, forward_kl, grpo, sampled_kl, span_correlation
from tutelage.objectives.divergences import forward_kl as slow_forward
from tutelage.objectives.term import Own
from tutelage.train import IMITATED, Facts, FitSettings, Fixed, Near, OnPolicy, Rollout, Sampled, Teacher, where_none_is_right, where_wrong
from tutelage.train.batch import Batch
from tutelage.train.feeds import group_of
from tutelage.train.loop import OWN_FILE, fit
from tutelage.train.oracle import SampledOracle
from tutelage.train.step import Measured, charges_of, values
from tutelage.train.window import Group, Row, count
from windows import Opened, examples, off, opened_site, ref

PROMPTS = [e.prompt for e in examples()]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("models")
    return tiny_checkpoint(place / "student"), tiny_checkpoint(place / "teacher", seed=5, hidden=48)


def marked(site_groups: Sequence[Group], every: int) -> list[Group]:
    """Every n-th charged token of every row carries the mark; the first row none."""
    out = []
    for g in site_groups:
        (row,) = g.rows
        marks = tuple(float(i % every == 0 and out != []) for i in range(len(row.charged)))
        out.append(replace(g, rows=(replace(row, facts={"here": marks}),)))
    return out


@pytest.mark.parametrize("per", ["token", "sequence"])
def test_a_mark_is_the_same_as_leaving_the_other_tokens_out(models: tuple[Path, Path], per: str) -> None:
    site = opened_site(models[0], FitSettings(lr=1e-3))
    groups = marked([g for e in examples() if (g := group_of(e, site)) is not None], 2)
    bare = []
    for g in groups:
        (row,) = g.rows
        kept = [i for i, m in enumerate(row.facts["here"]) if m]
        if kept:
            left = {"charged": tuple(row.charged[i] for i in kept), "spans": tuple(row.spans[i] for i in kept), "facts": {}}
            bare.append(Group(rows=(replace(row, **left),)))
    objective = cross_entropy(per=per)
    with_marks = Opened(models[0], groups, objective.where("here"))
    without = Opened(models[0], bare, objective)
    assert count(with_marks.charges[0].term, groups) == pytest.approx(count(without.charges[0].term, bare))
    wanted = without.value_and_gradient()
    for size in (None, 1, 3):
        value, gradient = with_marks.value_and_gradient(size=size)
        assert value == pytest.approx(wanted[0], rel=1e-5)
        assert off(gradient, wanted[1]) < 1e-5


def test_a_term_that_asks_for_marks_nobody_brings_is_refused(models: tuple[Path, Path], tmp_path: Path) -> None:
    source = OnPolicy(PROMPTS, max_tokens=4)
    with pytest.raises(DataError, match="no row brings such marks"):
        fit(
            model=models[0], source=source, objective=cross_entropy().where("gold"), settings=FitSettings(lr=1e-3, steps=1), seed=0,
            out=tmp_path / "out",
        )  # fmt: skip
    with pytest.raises(SettingsError, match="one value per pair"):
        dpo().where("gold")


def rated(rollouts: Sequence[Rollout]) -> list[float]:
    """Right in every second sample, and never in the first prompt."""
    return [float(r.sample % 2 == 1 and r.number > 0) for r in rollouts]


def test_masks_follow_the_rewards_by_response_and_by_group(models: tuple[Path, Path]) -> None:
    for marks, wanted in ((where_wrong, [[1, 1], [1, 0], [1, 0]]), (where_none_is_right, [[1, 1], [0, 0], [0, 0]])):
        site = opened_site(models[0], FitSettings(lr=1e-3, batch=3))
        window = OnPolicy(PROMPTS, max_tokens=6, samples=2, reward=rated, marks=marks).open(site).next()
        assert window is not None
        assert [[r.facts[IMITATED][0] for r in g.rows] for g in window.groups] == wanted
        assert all(len(set(r.facts[IMITATED])) == 1 for r in window.rows)
        term = sampled_kl(estimator="k2").where(IMITATED).terms[0]
        kept = sum(len(r.charged) for g, row in zip(window.groups, wanted, strict=True) for r, m in zip(g.rows, row, strict=True) if m)
        assert count(term, window.groups) == kept
        (told,) = site.told["rollouts"]
        assert told["reward"] == pytest.approx(2 / 6)
        assert told["tokens"] == pytest.approx(sum(len(r.charged) for r in window.rows) / 6)
        assert told["surprise_nats"] > 0


def short(rollouts: Sequence[Rollout]) -> list[Facts]:
    return [{"x": [1.0]} for _ in rollouts]


def test_marks_must_fit_and_belong_to_the_key(models: tuple[Path, Path]) -> None:
    site = opened_site(models[0], FitSettings(lr=1e-3, batch=3))
    with pytest.raises(SettingsError, match="do not fit"):
        OnPolicy(PROMPTS, max_tokens=6, marks=short).open(site).next()
    plain, masked = OnPolicy(PROMPTS, max_tokens=6), OnPolicy(PROMPTS, max_tokens=6, marks=where_wrong)
    assert canonical(plain.describe()) != canonical(masked.describe())
    assert "marks" not in plain.describe()


def test_weights_move_and_switch() -> None:
    switch = Switch(before=2.0, after=0.5, share=0.5)
    assert [switch.at(p) for p in (0.0, 0.49, 0.5, 1.0)] == [2.0, 2.0, 0.5, 0.5]
    assert Switch(before=1.0, after=0.0, share=0.0).at(0.0) == 0.0
    for moving in (switch, Ramp(start=1.0, end=0.0, share=0.5)):
        (term,) = (moving * (3.0 * cross_entropy())).terms
        assert [term.weight_at(p) for p in (0.0, 1.0)] == [3 * moving.at(0.0), 3 * moving.at(1.0)]
        assert canonical(term.describe()) != canonical(cross_entropy().terms[0].describe())
        with pytest.raises(SettingsError, match="another one"):
            _ = switch * (moving * cross_entropy())


def test_a_hard_switch_trains_on_one_term_and_then_on_the_other(models: tuple[Path, Path], tmp_path: Path) -> None:
    student, teacher = models
    source = OnPolicy(PROMPTS, max_tokens=6, samples=2, reward=digits)
    reward, imitation = grpo(per="token"), sampled_kl(estimator="k2")

    def trained(objective: Objective, name: str) -> dict[str, torch.Tensor]:
        settings, out = FitSettings(lr=1e-3, batch=2, steps=2), tmp_path / name
        fit(model=student, source=source, objective=objective, targets=Sampled(ref(teacher)), settings=settings, seed=0, out=out)
        return load_file(out / "model.safetensors")

    late = trained(Switch(before=0.0, after=1.0, share=1.0) * reward + Switch(before=1.0, after=0.0, share=1.0) * imitation, "late")
    only = trained(0.0 * reward + imitation, "imitation")
    half = trained(Switch(before=0.0, after=1.0, share=0.5) * reward + Switch(before=1.0, after=0.0, share=0.5) * imitation, "half")
    assert all(torch.equal(late[n], only[n]) for n in only)
    assert any(not torch.equal(half[n], only[n]) for n in only)


def test_a_shaped_reward_is_the_mean_log_ratio_added(models: tuple[Path, Path]) -> None:
    student, teacher = models
    site = opened_site(student, FitSettings(lr=1e-3, batch=3))
    near = Near(digits, ref(teacher), weight=0.5)
    seen: list[Rollout] = []

    class Watching:
        def describe(self) -> str:
            return "watching"

        def __call__(self, rollouts: Sequence[Rollout]) -> list[Rollout]:
            seen.extend(rollouts)
            return list(rollouts)

    window = OnPolicy(PROMPTS, max_tokens=6, samples=2, reward=near, edit=Watching(), advantage="reward").open(site).next()
    assert window is not None
    oracle = Sampled(ref(teacher)).open(site)
    assert isinstance(oracle, SampledOracle)
    theirs = oracle.row_values("teacher_log_probs", Batch(window.groups, site.network.device)).tolist()
    for row, rollout, plain in zip(window.rows, seen, digits(seen), strict=True):
        mine, theirs = theirs[: len(row.charged)], theirs[len(row.charged) :]
        ratio = sum(t - b for t, b in zip(mine, rollout.log_probs, strict=True)) / len(mine)
        assert row.facts["advantages"][0] == pytest.approx(plain + 0.5 * ratio, rel=1e-4)
    assert canonical(near.describe()) != canonical(Near(digits, ref(teacher), weight=0.6).describe())


def nothing(rollouts: Sequence[Rollout]) -> list[float]:
    return [0.0] * len(rollouts)


def spliced(rollouts: Sequence[Rollout]) -> list[Rollout]:
    return [r.spliced(3, " so 4") for r in rollouts]


def test_a_shaped_reward_leaves_out_what_the_student_did_not_write(models: tuple[Path, Path]) -> None:
    student, teacher = models
    site = opened_site(student, FitSettings(lr=1e-3, batch=3))
    near = Near(nothing, ref(teacher), weight=0.5)
    window = OnPolicy(PROMPTS, max_tokens=6, samples=2, reward=near, edit=spliced, advantage="reward").open(site).next()
    assert window is not None
    oracle = Sampled(ref(teacher)).open(site)
    assert isinstance(oracle, SampledOracle)
    theirs = oracle.row_values("teacher_log_probs", Batch(window.groups, site.network.device)).tolist()
    for row in window.rows:
        mine, theirs = theirs[: len(row.charged)], theirs[len(row.charged) :]
        own = row.facts["behaviour_log_probs"][:3]
        ratio = sum(t - b for t, b in zip(mine[:3], own, strict=True)) / 3
        assert row.facts["behaviour_log_probs"][3:] == (0.0,) * (len(mine) - 3)
        assert row.facts["advantages"][0] == pytest.approx(0.5 * ratio, rel=1e-4)


# -- terms with parameters, terms that see neighbours ----------------------------------------------------------------------------


def test_every_road_gives_one_gradient_the_terms_own_included(models: tuple[Path, Path]) -> None:
    student, teacher = models
    for objective in (dac_kl(classes=6, width=5), 0.3 * cross_entropy() + dac_kl(classes=500, width=3)):
        opened = Opened(student, examples(), objective, targets=Teacher(ref(teacher)))
        base = opened.value_and_gradient()
        assert [tuple(p.shape) for p in opened.charges[-1].own.values()][1] == (1, opened.charges[-1].own["inner"].shape[1])
        assert not opened.charges[-1].own["outer_bias"].detach().any()
        roads: list[dict[str, Any]] = [{"size": 1}, {"size": 3}, {"tile_bytes": 1}, {"layout": "right"}, {"layout": "left"}]
        for road in roads:
            value, gradient = opened.value_and_gradient(**road)
            assert value == pytest.approx(base[0], rel=1e-4)
            assert gradient.shape == base[1].shape
            assert off(gradient, base[1]) < 2e-4, road


def in_spans(groups: Sequence[Group]) -> list[Group]:
    """Spans of three tokens in every row."""

    def spanned(row: Row) -> Row:
        return replace(row, facts={"in_span": tuple(float(i % 3 > 0) for i in range(len(row.charged)))})

    return [replace(g, rows=tuple(spanned(r) for r in g.rows)) for g in groups]


def test_neighbours_are_those_of_the_row(models: tuple[Path, Path]) -> None:
    student, teacher = models
    site = opened_site(student, FitSettings(lr=1e-3))
    groups = in_spans([g for e in examples() if (g := group_of(e, site)) is not None])
    opened = Opened(student, groups, span_correlation(), targets=Teacher(ref(teacher)))
    wanted, pairs = 0.0, 0.0
    oracle = opened.oracle
    for g in groups:
        batch = Batch([g], site.network.device)
        with torch.no_grad():
            hidden, head = opened.network.projected(opened.network.states(batch).index_select(0, batch.predicting), oracle.shared)
            states, theirs = oracle.logits(batch)
            q, p = head.logits(hidden).softmax(-1), theirs.logits(states).softmax(-1)
        (row,) = g.rows
        for i, m in enumerate(row.facts["in_span"]):
            if m:
                wanted += row.weight * float((p[i - 1] * p[i] - q[i - 1] * q[i]).square().sum())
                pairs += row.weight
    base = opened.value_and_gradient()
    assert pairs == count(opened.charges[0].term, groups) > 5
    assert base[0] == pytest.approx(wanted / pairs, rel=1e-4)
    roads: list[dict[str, Any]] = [{"size": 1}, {"tile_bytes": 1}, {"layout": "right"}]
    for road in roads:
        value, gradient = opened.value_and_gradient(**road)
        assert value == pytest.approx(base[0], rel=1e-4)
        assert off(gradient, base[1]) < 2e-4, road


def test_labels_are_found_among_shared_ids(models: tuple[Path, Path]) -> None:
    """With ids left out in the middle, the label's place is not its id."""
    student, teacher = models
    site = opened_site(student, FitSettings(lr=1e-3))
    groups = [g for e in examples() if (g := group_of(e, site)) is not None]
    opened = Opened(student, groups, forward_kl(), targets=Teacher(ref(teacher)))
    batch = Batch(groups, site.network.device)
    measured = Measured(opened.network, batch, opened.oracle, tile_bytes=2**20)
    assert torch.equal(measured.shared_labels, batch.labels)
    shared = opened.oracle.shared
    assert shared is not None
    gaps = tuple(i for i in range(shared.size) if i not in set(range(3, 7)) - set(batch.labels.tolist()))

    class Gappy:
        def __init__(self) -> None:
            self.shared = replace(shared, ids=gaps, size=len(gaps))

    gappy = Measured(opened.network, batch, Gappy(), tile_bytes=2**20)  # pyright: ignore[reportArgumentType]
    assert [gaps[i] for i in gappy.shared_labels.tolist()] == batch.labels.tolist()
    assert torch.allclose(values(opened.charges[0], measured), _direct(opened, batch), rtol=1e-4, atol=1e-5)


def _direct(opened: Opened, batch: Batch) -> torch.Tensor:
    hidden, head = opened.network.projected(opened.network.states(batch).index_select(0, batch.predicting), opened.oracle.shared)
    states, theirs = opened.oracle.logits(batch)
    return slow_forward(head.logits(hidden), theirs.logits(states))


def test_matrices_may_start_from_zero() -> None:
    assert "start" not in Own(name="a", rows="2", columns="2").describe()
    assert Own(name="a", rows="2", columns="2", start=0.0).describe()["start"] == 0.0


def test_a_fit_trains_what_its_terms_own_and_writes_it_beside_the_weights(models: tuple[Path, Path], tmp_path: Path) -> None:
    student, teacher = models
    run = partial(fit, model=student, source=Fixed(examples()), targets=Teacher(ref(teacher)), seed=0)
    first, second = (
        run(objective=dac_kl(classes=8, width=4), settings=FitSettings(lr=1e-2, steps=n, epochs=9, tile_bytes=1), out=tmp_path / str(n))
        for n in (1, 6)
    )
    before, after = (load_file(r.folder / OWN_FILE) for r in (first, second))
    assert set(before) == {f"dac_kl.{n}" for n in ("inner", "inner_bias", "outer", "outer_bias")}
    assert all(not torch.equal(before[n], after[n]) for n in before)
    assert charges_of(dac_kl(classes=8, width=4), opened_site(student, FitSettings(lr=1e-3)).network, None)[0].own["inner"].shape == (16, 4)
