"""Exports as other tools read them."""

import json

import pytest
import yaml
from safetensors.numpy import save_file

from report.sample_run import write_run
from tutelage.errors import DataError, SettingsError
from tutelage.records import Example, Message, Prompt, encode
from tutelage.report import export
from tutelage.report.export import prompt_column


@pytest.fixture
def run_folder(tmp_path):
    import numpy as np

    folder = write_run(tmp_path / "run", seeds=(0, 1), arms=("untouched", "original_teacher", "arte"))
    weights = folder / "fits" / "b2-key-student"
    weights.mkdir(parents=True)
    save_file({"w": np.zeros(3, dtype=np.float32)}, weights / "model.safetensors")
    for name in ("config.json", "tokenizer.json", "fit.json"):
        (weights / name).write_text("{}")
    return folder


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def card(path):
    _, head, body = path.read_text().split("---\n", 2)
    return yaml.safe_load(head), body


def test_data_student_and_cards(run_folder, tmp_path):
    out = tmp_path / "out"
    written = export(run_folder, to="trl", out=out)
    assert [p.relative_to(out).as_posix() for p in written] == ["data/train.jsonl", "data/pairs.jsonl", "data/README.md", "student"]
    train, pairs = rows(out / "data" / "train.jsonl"), rows(out / "data" / "pairs.jsonl")
    assert len(train) == 40
    assert all(isinstance(r["prompt"], str) and isinstance(r["completion"], str) and r["id"].startswith("b2-") for r in train)
    assert train[0]["prompt"].endswith("\nA :")
    assert {"prompt", "chosen", "rejected", "margin"} <= pairs[0].keys()
    assert sorted(p.name for p in (out / "student").iterdir()) == ["README.md", "config.json", "model.safetensors", "tokenizer.json"]

    head, body = card(out / "data" / "README.md")
    facts = head["tutelage"]
    assert (facts["recipe"], facts["arm"], facts["seed"], facts["teacher"], facts["teacher_calls"], facts["teacher_tokens"]) == (
        "arte",
        "arte",
        0,
        "bundled:teacher",
        260,
        260 * 62,
    )
    assert facts["splits"] == {"seed": 12, "train": 0, "validation": 80, "test": 120}
    assert (head["license"], facts["task_licence"]) == ("apache-2.0", "Apache-2.0")
    assert facts["lineage"][:2] == ["drafts (20)", "draft_solutions (60)"]
    assert any(step.startswith("training of the teacher") for step in facts["lineage"])
    assert [c["data_files"][0]["path"] for c in head["configs"]] == ["train.jsonl", "pairs.jsonl"]
    assert "tutelage run arte" in body
    head, body = card(out / "student" / "README.md")
    assert (head["library_name"], head["pipeline_tag"]) == ("transformers", "text-generation")
    assert "of 120 test questions" in body
    assert "test questions (95 % interval " in body


@pytest.mark.parametrize("writes", [False, True])
def test_a_reward_model_leaves_with_a_card_of_its_own(run_folder, tmp_path, writes):
    import numpy as np

    weights = run_folder / "fits" / "b2-key-judge"
    weights.mkdir()
    save_file({"w": np.zeros(3, dtype=np.float32)}, weights / "model.safetensors")
    if writes:
        save_file({"critique_bradley_terry.reward_head": np.zeros((3, 1), dtype=np.float32)}, weights / "terms.safetensors")
    (weights / "fit.json").write_text("{}")
    events = run_folder / "seeds" / "0" / "arte" / "events.jsonl"
    lines = events.read_text().splitlines()
    fit = {"event": "fit", "role": "judge", "step": "reward", "key": "b2-key-judge", "examples": 4}
    note = {"event": "note", "name": "pair accuracy", "value": 0.875}
    events.write_text("\n".join([*lines[:-1], json.dumps(fit), json.dumps(note), lines[-1]]) + "\n")
    written = export(run_folder, to="trl", out=tmp_path / "out", arm="arte", seed=0)
    model = tmp_path / "out" / "reward_model"
    assert written[-1] == model
    assert {p.name for p in model.iterdir()} == {"model.safetensors", "README.md", *(["terms.safetensors"] if writes else [])}
    head, body = card(model / "README.md")
    assert head["pipeline_tag"] == ("text-generation" if writes else "text-classification")
    assert "reward-model" in head["tags"]
    assert "tutelage score --model DIR FILE" in body
    assert "87.5" in body
    assert ("writes a critique" in body) == writes
    assert export(run_folder, to="trl", out=tmp_path / "out", arm="arte", seed=0)[-1] == model, "written anew"


def test_the_columns_load_as_a_dataset(run_folder, tmp_path):
    datasets = pytest.importorskip("datasets")
    export(run_folder, out=tmp_path / "out")
    loaded = datasets.load_dataset(
        "json", data_files=str(tmp_path / "out" / "data" / "train.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert set(loaded.column_names) == {"prompt", "completion", "id", "skill"}


def test_default_place_and_doing_it_again(run_folder):
    first = export(run_folder)
    assert first[0] == run_folder / "export" / "arte-seed0" / "data" / "train.jsonl"
    body = first[0].read_bytes()
    assert [p.read_bytes() for p in export(run_folder)[:1]] == [body]
    other = export(run_folder, arm="original_teacher", seed=1)
    assert "original_teacher-seed1" in str(other[0])
    assert not (other[0].parent / "pairs.jsonl").exists()


def test_a_folder_with_something_else_is_left_alone(run_folder, tmp_path):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(SettingsError, match="holds something else"):
        export(run_folder, out=out)
    assert (out / "thesis.txt").read_text() == "years of work"
    export(run_folder, out=tmp_path / "a", arm="arte")
    with pytest.raises(SettingsError, match="holds something else"):
        export(run_folder, out=tmp_path / "a", arm="original_teacher")


def test_wrong_names_say_what_is_there(run_folder):
    with pytest.raises(SettingsError, match="unknown export format 'trk'") as caught:
        export(run_folder, to="trk")
    assert "'trl'" in str(caught.value)
    with pytest.raises(SettingsError, match="no arm 'artee'") as caught:
        export(run_folder, arm="artee")
    assert "'arte'" in str(caught.value)
    with pytest.raises(SettingsError, match="no seed 9"):
        export(run_folder, seed=9)


def test_an_arm_without_data_is_refused(tmp_path):
    folder = write_run(tmp_path / "run", seeds=(0,), arms=("untouched",))
    with pytest.raises(DataError, match="nothing to export") as caught:
        export(folder, arm="untouched")
    assert "records: scorecards" in str(caught.value)
    assert not (folder / "export").exists()


def test_missing_weights_leave_the_data(run_folder, tmp_path):
    (run_folder / "fits" / "b2-key-student" / "model.safetensors").unlink()
    written = export(run_folder, out=tmp_path / "out")
    assert not (tmp_path / "out" / "student").exists()
    assert len(written) == 3


def test_turns_become_messages():
    plain = Prompt.user("Q")
    assert prompt_column(plain, template=False) == "Q"
    assert prompt_column(plain, template=True) == [{"role": "user", "content": "Q"}]
    system = Prompt.user("Q", system="Be brief.")
    assert prompt_column(system, template=False) == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q"}]
    chat = Prompt(messages=(Message(role="user", content="a"), Message(role="assistant", content="b"), Message(role="user", content="c")))
    assert [m["content"] for m in prompt_column(chat, template=False)] == ["a", "b", "c"]


def test_answers_to_messages_are_messages(tmp_path):
    folder = write_run(tmp_path / "run", seeds=(0,), arms=("arte",))
    example = Example(prompt=Prompt.user("Q", system="S"), completion="A")
    (folder / "seeds" / "0" / "arte" / "records" / "examples.jsonl").write_bytes(encode(example) + b"\n")
    train = export(folder)[0]
    assert rows(train)[0]["completion"] == [{"role": "assistant", "content": "A"}]


def test_a_hostile_model_name_cannot_break_the_head(tmp_path):
    folder = write_run(tmp_path / "run", seeds=(0,), arms=("arte",))
    about = json.loads((folder / "run.json").read_text())
    about["models"]["teacher"]["name"] = 'x"\n---\nlicense: evil\n'
    about["models"]["teacher"]["facts"]["licence"] = "custom"
    (folder / "run.json").write_text(json.dumps(about))
    head, _ = card(export(folder)[-1])
    assert head["tutelage"]["teacher"] == 'x"\n---\nlicense: evil\n'
    assert head["license"] == "other"
