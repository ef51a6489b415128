"""Sources that choose how many rows a window has: what passes, what it weighs, what is counted, and that a killed fit goes on alike."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints import tiny_encoder
from tutelage.errors import DataError, SettingsError
from tutelage.hashing import canonical
from tutelage.objectives import classification
from tutelage.records import Problem
from tutelage.select.thresholds import MovingThresholds
from tutelage.tasks.labels import label_examples
from tutelage.train import FitSettings, Gated, Gates, Portions, Source
from tutelage.train.classes import class_log_probs
from tutelage.train.feeds import FixedFeed, Site, group_of
from tutelage.train.gating import SURE_STUDENT, UNSURE_TEACHER
from tutelage.train.loop import fit
from windows import opened_site

LABELS = ("no", "yes", "who knows")
PROBLEMS = [Problem(text=f"{'ja' if i % 2 else 'nee'} Bob{' and Alice' * (i % 4)} {i}", answer=LABELS[i % 3]) for i in range(24)]
EXAMPLES = label_examples(PROBLEMS, LABELS)
SURE = [0.2 + 0.7 * (i % 5) / 4 for i in range(24)]
SETTINGS = FitSettings(lr=3e-3, batch=8, steps=6, head="class", labels=LABELS)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("m") / "encoder")


def site_of(encoder: Path, **changes: Any) -> Site:
    """With a class head whose answers differ, other than a new one's."""
    torch.manual_seed(0)
    site = opened_site(encoder, replace(SETTINGS, **changes))
    with torch.no_grad():
        site.network.inner.classifier.weight.mul_(40)
    return site


def passed(site: Site, gates: Gates) -> list[list[tuple[str, float]]]:
    feed = Gated(EXAMPLES, SURE, gates).open(site)
    windows = []
    while (window := feed.next()) is not None:
        windows.append([(g.rows[0].key, g.rows[0].weight) for g in window.groups])
    return windows


def unsureness(site: Site) -> dict[str, float]:
    """By key; the weights of a feed that nobody trains stay what they are."""
    groups = [g for e in EXAMPLES if (g := group_of(e, site)) is not None]
    log_probs = class_log_probs(groups, site)
    return dict(zip([g.rows[0].key for g in groups], (-(log_probs.exp() * log_probs).sum(-1) / math.log(3)).tolist(), strict=True))


def test_what_passes_reaches_both_moving_thresholds(encoder: Path) -> None:
    site = site_of(encoder)
    unsure, known = unsureness(site), {e.id: (c, e.label or 0) for e, c in zip(EXAMPLES, SURE, strict=True)}
    mine = site_of(encoder)
    order = FixedFeed(EXAMPLES, mine)
    teacher, student = (MovingThresholds.begun(3, decay=0.5, level=level) for level in (1 / 3, 0.0))
    wanted = []
    while len(wanted) < 6:
        keys = [g.rows[0].key for g in order.draw(8)]
        classes, sure, doubts = [known[k][1] for k in keys], [known[k][0] for k in keys], [unsure[k] for k in keys]
        teacher, student = teacher.after(sure, classes), student.after(doubts, classes)
        chosen = [k for k, c, u, y in zip(keys, sure, doubts, classes, strict=True) if c >= teacher.of(y) and u >= student.of(y)]
        wanted += [chosen] if chosen else []
    found = passed(site, Gates(decay=0.5))
    assert [[key for key, _ in window] for window in found] == wanted
    assert 6 < sum(map(len, wanted)) < 48
    assert site.told["sizes"] == [len(w) for w in found]
    assert sum(site.told["uses"].values()) == sum(site.told["sizes"])
    assert site.told[UNSURE_TEACHER] > 0 < site.told[SURE_STUDENT]
    for window in found:
        weights = [weight for _, weight in window]
        assert sum(weights) / len(weights) == pytest.approx(1.0)
        first = window[0][0]
        whole = [known[key][0] + unsure[key] for key, _ in window]
        assert [w * whole[0] / weights[0] for w in weights] == pytest.approx(whole, rel=1e-4), first


def test_a_top_share_takes_the_place_of_thresholds(encoder: Path) -> None:
    windows = passed(site_of(encoder), Gates(top=0.5, student=False, weighted=False))
    known = {e.id: c for e, c in zip(EXAMPLES, SURE, strict=True)}
    assert all(4 <= len(w) < 8 for w in windows)
    assert min(known[key] for w in windows for key, _ in w) > min(SURE)


def test_signals_can_be_left_out_and_weigh_what_they_let_through(encoder: Path) -> None:
    everything = passed(site_of(encoder), Gates(teacher=False, student=False))
    assert [len(w) for w in everything] == [8] * 6
    assert {weight for w in everything for _, weight in w} == {1.0}
    known = {e.id: c for e, c in zip(EXAMPLES, SURE, strict=True)}
    for window in passed(site_of(encoder), Gates(student=False)):
        weights = [weight for _, weight in window]
        assert sum(weights) / len(weights) == pytest.approx(1.0)
        assert [w * known[window[0][0]] / weights[0] for w in weights] == pytest.approx([known[key] for key, _ in window])
    # Thresholds begin low: the first mini-batch is nearly whole, later ones are about halved.
    moving = [len(w) for w in passed(site_of(encoder, steps=30), Gates(student=False, decay=0.5, by_class=False))]
    assert moving[0] > 4
    assert sum(moving[10:]) / len(moving[10:]) < 6


def test_the_students_threshold_waits_for_the_warm_up(encoder: Path) -> None:
    site = site_of(encoder)
    waiting = passed(site, Gates(teacher=False, warmup=1.0, weighted=False))
    assert [len(w) for w in waiting] == [8] * 6
    assert site.told.get(SURE_STUDENT, 0) == 0
    at_once = passed(site_of(encoder), Gates(teacher=False, decay=0.0, by_class=False, weighted=False))
    assert all(0 < len(w) < 8 for w in at_once)


def test_own_confidence_and_dealt_uncertainties_choose_otherwise(encoder: Path) -> None:
    plain = passed(site_of(encoder), Gates())
    assert passed(site_of(encoder), Gates()) == plain
    assert passed(site_of(encoder), Gates(own=True)) != plain
    assert passed(site_of(encoder), Gates(dealt=True)) != plain


def test_where_nothing_passes_the_fit_says_so(encoder: Path) -> None:
    site = site_of(encoder)
    unsure = unsureness(site)
    feed = Gated(EXAMPLES, [1 - unsure[e.id] for e in EXAMPLES], Gates(top=0.1)).open(site)  # sure of one thing, unsure of another
    with pytest.raises(DataError, match="nothing passed the gates"):
        feed.next()


def test_portions_have_the_sizes_they_were_given_and_repeat_nothing_before_all_were_seen(encoder: Path) -> None:
    site = site_of(encoder)
    feed = Portions(EXAMPLES, (3, 10, 11, 5)).open(site)
    windows = []
    while (window := feed.next()) is not None:
        windows.append([g.rows[0].key for g in window.groups])
    assert [len(w) for w in windows] == [3, 10, 11, 5] == site.told["sizes"]
    assert len({key for w in windows[:3] for key in w}) == 24
    assert sum(site.told["uses"].values()) == 29


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match="confidence"):
        Gated(EXAMPLES, SURE[:-1], Gates())
    with pytest.raises(DataError, match="label"):
        Gated([replace(EXAMPLES[0], label=None)], [0.5], Gates())
    with pytest.raises(SettingsError, match="warm-up"):
        Gates(warmup=2.0)
    with pytest.raises(SettingsError, match="decay"):
        Gates(decay=1.0)
    with pytest.raises(SettingsError, match="top share"):
        Gates(top=0.0)
    with pytest.raises(SettingsError, match="portions"):
        Portions(EXAMPLES, ())


def test_all_that_changes_a_window_is_in_the_key() -> None:
    sources = [
        Gated(EXAMPLES, SURE, Gates()),
        Gated(EXAMPLES[:-1], SURE[:-1], Gates()),
        Gated(EXAMPLES, SURE[::-1], Gates()),
        *(Gated(EXAMPLES, SURE, Gates(**change)) for change in (
            {"teacher": False}, {"student": False}, {"decay": 0.5}, {"by_class": False}, {"top": 0.5}, {"weighted": False},
            {"warmup": 0.5}, {"own": True}, {"dealt": True},
        )),
        Portions(EXAMPLES, (3, 4)),
        Portions(EXAMPLES, (4, 3)),
    ]  # fmt: skip
    assert all(isinstance(source, Source) for source in sources)
    assert len({canonical(source.describe()) for source in sources}) == len(sources) == 14


class Stop(Exception):
    pass


@pytest.mark.parametrize("kind", ["gated", "portions"])
def test_a_killed_fit_goes_on_with_the_same_windows(kind: str, encoder: Path, tmp_path: Path) -> None:
    source = Gated(EXAMPLES, SURE, Gates(decay=0.5)) if kind == "gated" else Portions(EXAMPLES, (3, 5, 4, 6, 2, 7))
    settings = replace(SETTINGS, checkpoint_every=2)
    whole = fit(model=encoder, source=source, objective=classification(), settings=settings, seed=1, out=tmp_path / "whole")

    def kill(done: int, total: int, loss: float) -> None:
        del total, loss
        if done == 5:
            raise Stop

    given: dict[str, Any] = {"model": encoder, "source": source, "objective": classification(), "settings": settings, "seed": 1}
    with pytest.raises(Stop):
        fit(**given, out=tmp_path / "cut", checkpoint=tmp_path / "held", progress=kill)
    again = fit(**given, out=tmp_path / "cut", checkpoint=tmp_path / "held")
    assert again.told == whole.told
    assert sum(again.told["uses"].values()) == again.examples == sum(again.told["sizes"])
    assert (tmp_path / "cut" / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()
