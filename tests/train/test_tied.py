"""Bundles of examples: a window holds whole ones, and the loss is the mean over rows of each row's mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from checkpoints import tiny_checkpoint
from tutelage.objectives import cross_entropy
from tutelage.records import Example, Prompt
from tutelage.train import FitSettings, Fixed
from tutelage.train.feeds import Site
from tutelage.train.loop import fit
from tutelage.train.tied import Tied
from windows import opened_site


def bundle(number: int, views: int = 3) -> list[Example]:
    return [Example(prompt=Prompt.user(f"{number}.{view} ?"), completion="ab" * (1 + 4 * view)) for view in range(views)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("m") / "student")


def site_of(folder: Path, **changes: object) -> Site:
    return opened_site(folder, FitSettings(**{"lr": 1e-3, "batch": 2, "epochs": 2, **changes}))  # pyright: ignore[reportArgumentType]


def test_windows_hold_whole_bundles_each_once_an_epoch(folder: Path) -> None:
    source = Tied([bundle(i) for i in range(5)])
    feed = source.open(site_of(folder))
    keys = [tuple(e.id for e in b) for b in source.bundles]
    sizes, seen = [], []
    while (window := feed.next()) is not None:
        sizes.append(len(window.groups))
        seen += [tuple(row.key for row in g.rows) for g in window.groups]
    assert sizes == [2, 2, 1, 2, 2, 1]
    assert sorted(seen[:5]) == sorted(seen[5:]) == sorted(keys)
    assert seen[:5] != seen[5:]


def test_a_bundle_that_cannot_be_trained_on_whole_is_left_out(folder: Path) -> None:
    site = site_of(folder, context_tokens=40)
    long = [*bundle(1, 1), Example(prompt=Prompt.user("x"), completion="y" * 500)]
    feed = Tied([bundle(0, 1), long]).open(site)
    assert [len(g.rows) for g in feed.fixed] == [1]
    assert site.dropped == {"longer than the context": 1}


def test_what_is_tied_together_is_part_of_the_description() -> None:
    one, two = bundle(0), bundle(1)
    assert Tied([one, two]).describe() != Tied([one + two]).describe()
    assert Tied([one, two]).describe() == Tied([tuple(one), tuple(two)]).describe()
    assert [e.id for e in Tied([one, two]).records] == [e.id for e in (*one, *two)]


def test_one_step_is_that_of_the_same_rows_in_one_window(tmp_path: Path, folder: Path) -> None:
    """Bundles change which rows meet in a step, not what a step does."""
    rows = [e for i in range(2) for e in bundle(i)]
    losses = []
    for name, source, batch in (("tied", Tied([bundle(0), bundle(1)]), 2), ("rows", Fixed(rows), 6)):
        settings = FitSettings(lr=1e-3, batch=batch)
        done = fit(model=folder, source=source, objective=cross_entropy(per="sequence"), settings=settings, seed=1, out=tmp_path / name)
        assert done.steps == 1
        losses.append(done.log[0]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
