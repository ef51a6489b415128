"""Seeds in processes of their own: one process per seed of a folder, and books that seeds at work at the same time do not mix."""

import pytest

import tutelage
from tutelage.errors import StorageError
from tutelage.experiments.processes import alone
from tutelage.journal.folder import ArmJournal


def test_a_seed_of_a_folder_is_held_by_one_and_freed_at_its_end(tmp_path):
    with alone(tmp_path, 0):
        with alone(tmp_path, 1, patience_s=0):
            pass
        with pytest.raises(StorageError, match="another process is at work on seed 0") as refused, alone(tmp_path, 0, patience_s=0):
            pass
        assert str(tmp_path) in str(refused.value)
        assert "--out" in str(refused.value)
    with alone(tmp_path, 0, patience_s=0):
        pass


def test_each_seed_is_charged_what_it_had_computed_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache.sqlite"))
    outcome = tutelage.run(
        "untouched", task="folds/msum", student="bundled:student", preset="toy", task_options={"test_size": 10}, seeds=(0, 1), jobs=2,
        out=tmp_path / "run",
    )  # fmt: skip
    costs = [
        event
        for seed in (0, 1)
        for event in ArmJournal(tmp_path / "run" / "seeds" / str(seed) / "untouched").events()
        if event["event"] == "cost"
    ]
    assert [event["calls"] for event in costs] == [10, 10]
    assert all(event["physical_calls"] <= event["calls"] for event in costs)
    assert outcome.calls == sum(event["physical_calls"] for event in costs)
    assert outcome.calls >= 10
