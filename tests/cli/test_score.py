"""`tutelage score`: rewards of a file, and what is said of files and models that it cannot be used with."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from checkpoints import tiny_checkpoint
from rewarding import PAIRS, shared
from tutelage.cli import main


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    (folder / "a" / "scalar").symlink_to(shared("scalar"))
    (folder / "b" / "critic").symlink_to(shared("critic"))
    tiny_checkpoint(folder / "plain")
    return folder


@pytest.fixture
def preferences(tmp_path: Path) -> Path:
    rows = [{"prompt": p.prompt.text, "chosen": p.chosen, "rejected": p.rejected} for p in PAIRS]
    rows[-1] = {**rows[-1], "chosen": rows[-1]["rejected"], "rejected": rows[-1]["chosen"]}
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(b"\n".join(orjson.dumps(r) for r in rows))
    return file


@pytest.mark.parametrize("kind", ["a/scalar", "b/critic"])
def test_preferences_are_counted_and_written(kind: str, folders: Path, preferences: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "rewards.jsonl"
    command = ["score", str(preferences), "--model", str(folders / kind), "--max-tokens", "24", "--out", str(out)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "pair accuracy 87.5% [" in said
    assert "of 8 pairs, 0 ties" in said
    rows = [orjson.loads(line) for line in out.read_bytes().splitlines()]
    assert [row["line"] for row in rows] == list(range(1, 9))
    assert [row["chosen_reward"] > row["rejected_reward"] for row in rows] == [True] * 7 + [False]
    assert ("chosen_critiques" in rows[0]) == (kind == "b/critic")
    assert main([*command, "--json"]) == 0
    found = orjson.loads(capsys.readouterr().out)
    assert (found["pairs"], found["right"], found["ties"], found["unrated"]) == (8, 7, 0, 0)
    assert found["low"] < found["accuracy"] == 0.875 < found["high"]


def test_replies_are_rated_one_by_one_and_long_ones_are_said_not_to_be(folders: Path, tmp_path: Path, capsys) -> None:
    file = tmp_path / "replies.jsonl"
    rows = [
        {"prompt": "Q : what is 3 times 5 ?\nA :", "completion": "it is 15"},
        {"prompt": "Q : what is 3 times 5 ?\nA :", "completion": "Bob lies. " * 400},
        {"messages": [{"role": "user", "content": "Q"}], "prompt": "Q", "completion": "no"},
    ]
    file.write_bytes(b"\n".join(orjson.dumps(r) for r in rows[:2]))
    assert main(["score", str(file), "--model", f"hf:{folders / 'a/scalar'}", "--json"]) == 0
    found = orjson.loads(capsys.readouterr().out)
    assert (found["rows"], found["unrated"]) == (2, 1)
    assert found["rewards"][1]["reward"] is None
    assert main(["score", str(file), "--model", str(folders / "a/scalar")]) == 0
    said = capsys.readouterr().out
    assert "1 not rated" in said
    assert "reward none" in said
    assert main(["score", str(file), "--model", str(folders / "a/scalar"), "--limit", "1", "--json"]) == 0
    assert orjson.loads(capsys.readouterr().out)["rows"] == 1


def test_several_critiques_are_averaged(folders: Path, preferences: Path, capsys) -> None:
    command = ["score", str(preferences), "--model", str(folders / "b/critic"), "--critiques", "3", "--max-tokens", "12", "--json"]
    assert main([*command, "--seed", "1"]) == 0
    one = orjson.loads(capsys.readouterr().out)
    assert all(len(row["chosen_critiques"]) == 3 for row in one["rewards"])
    assert main([*command, "--seed", "1"]) == 0
    assert orjson.loads(capsys.readouterr().out) == one


@pytest.mark.parametrize(
    ("content", "name", "options", "code", "said"),
    [
        (None, "pairs.jsonl", ["--model", "{models}/plain"], 2, "gives no reward"),
        (None, "pairs.jsonl", ["--model", "{models}/nothing"], 2, "does not exist"),
        (None, "pairs.jsonl", ["--model", "openai:gpt@http://127.0.0.1:9/v1"], 2, "gives no reward"),
        (None, "pairs.jsonl", [], 2, "--model"),
        (None, "missing.jsonl", ["--model", "{models}/a/scalar"], 2, "missing.jsonl"),
        (b'{"question": "a", "answer": "b"}', "rows.jsonl", ["--model", "{models}/a/scalar"], 2, "a reward needs a reply"),
        (b'{"prompt": "a", "chosen": "b", "rejected": "b"}', "rows.jsonl", ["--model", "{models}/a/scalar"], 2, "are the same"),
        (b'{"prompt": "a", "chosen": 3, "rejected": "b"}', "rows.jsonl", ["--model", "{models}/a/scalar"], 2, "not preference"),
        (b"not json", "rows.jsonl", ["--model", "{models}/a/scalar"], 2, "error:"),
        (b"", "rows.jsonl", ["--model", "{models}/a/scalar"], 2, "error:"),
        (None, "pairs.jsonl", ["--model", "{models}/b/critic", "--critiques", "2", "--temperature", "0"], 2, "all the same"),
        (None, "pairs.jsonl", ["--model", "{models}/b/critic", "--critiques", "0"], 2, "critiques"),
        (None, "pairs.jsonl", ["--model", "{models}/a/scalar", "--out", "{file}"], 2, "would replace the file"),
        (None, "pairs.jsonl", ["--model", "{models}/a/scalar", "--out", "{models}"], 2, "is a folder"),
        (None, "pairs.jsonl", ["--model", "{models}/a/scalar", "--out", "{file}/x.jsonl"], 2, "which is a file"),
        (None, "pairs.jsonl", ["--model", "{models}/a/scalar", "--critiques", "2"], 2, "writes no critiques"),
        (None, "pairs.jsonl", ["--model", "{models}/a/scalar", "--as", "preferences"], 2, "preference"),
    ],
)  # fmt: skip
def test_bad_input_is_said_in_words(content, name, options, code, said, folders, preferences, tmp_path, capsys) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    given = [o.format(models=folders, file=file) for o in options]
    assert main(["score", str(file), *given]) == code
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told


def test_the_bundled_student_is_no_reward_model(preferences: Path, capsys) -> None:
    assert main(["score", str(preferences), "--model", "bundled:student"]) == 2
    assert "gives no reward" in capsys.readouterr().err
