"""`hub:` on a local folder in the hub's layout, and `file:` on Parquet: the network is not needed."""

import json

import pytest

from tutelage.errors import DataError, SettingsError
from tutelage.tasks import list_tasks, open_task

datasets = pytest.importorskip("datasets")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()
    place = tmp_path / "sums"
    place.mkdir()
    for split, start, count in (("train", 0, 60), ("test", 100, 12)):
        rows = [{"ask": f"What is {i} + 1?", "reply": i + 1, "level": "easy" if i % 2 else "hard"} for i in range(start, start + count)]
        (place / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return place


def test_a_folder_of_the_hub_layout(folder):
    task = open_task(f"hub:{folder}", {"question": "ask", "answer": "reply", "skill": "level", "licence": "MIT"})
    assert (len(task.test), len(task.validation), len(task.seed) + len(task.train)) == (12, 12, 48)
    assert task.licence == "MIT"
    assert task.options["verifier"] == "numeric"
    assert set(task.skills) == {"easy", "hard"}
    assert (
        open_task(f"hub:{folder}", {"question": "ask", "answer": "reply", "train": "test", "test": "train"}).test[0].text
        == "What is 0 + 1?"
    )


def test_wrong_use_is_named(folder):
    with pytest.raises(DataError, match="no column 'question'"):
        open_task(f"hub:{folder}")
    with pytest.raises(DataError, match="no split 'trian'"):
        open_task(f"hub:{folder}", {"question": "ask", "answer": "reply", "train": "trian"})
    with pytest.raises(SettingsError, match="no option 'anser'"):
        open_task(f"hub:{folder}", {"question": "ask", "answer": "reply", "anser": "x"})
    with pytest.raises(SettingsError, match="names no data set"):
        open_task("hub:")
    with pytest.raises(DataError, match="could not be read"):
        open_task(f"hub:{folder / 'nothing'}")


def test_class_labels_are_read_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    names = datasets.ClassLabel(names=["bad", "good"])
    rows = datasets.Dataset.from_dict(
        {"text": [f"film {i}" for i in range(40)], "label": [i % 2 for i in range(40)]},
        features=datasets.Features({"text": datasets.Value("string"), "label": names}),
    )
    (tmp_path / "films").mkdir()
    rows.to_parquet(str(tmp_path / "films" / "train.parquet"))
    task = open_task(f"hub:{tmp_path / 'films'}", {"question": "text", "kind": "classification"})
    assert {p.answer for p in task.train} == {"bad", "good"}
    assert task.chance == 0.5


def test_a_parquet_file_as_a_task(tmp_path):
    path = tmp_path / "sums.parquet"
    datasets.Dataset.from_list([{"question": f"What is {i} + 1?", "answer": float(i + 1)} for i in range(50)]).to_parquet(str(path))
    task = open_task(f"file:{path}")
    assert task.options["verifier"] == "numeric"
    assert sum(map(len, (task.seed, task.train, task.validation, task.test))) == 50
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="cannot be read"):
        open_task(f"file:{path}")


def test_all_names_are_listed():
    names = list_tasks()
    assert {"gsm8k", "bbh/*", "bbh/navigate", "clinc150", "file:PATH", "hub:ID"} <= set(names)
    assert any(name.startswith("folds/") for name in names)
    assert len(names) == len(set(names))
