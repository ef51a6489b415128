"""Files that users bring, through the commands they type: every defect named with its place and a way out, and nothing half imported."""

import json

import pytest

from tutelage.cli import main

GOOD = [{"id": i, "question": f"What is {i} plus {i + 1}?", "answer": str(2 * i + 1)} for i in range(40)]


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def changed(place, **fields):
    return [{**row, **fields} if i == place else row for i, row in enumerate(GOOD)]


def many(**fields):
    return [{**row, **fields} if i % 4 == 0 else row for i, row in enumerate(GOOD)]


def parquet(folder, cut):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(GOOD), folder / "whole.parquet")
    whole = (folder / "whole.parquet").read_bytes()
    (folder / "whole.parquet").unlink()
    return whole[: len(whole) // 2] if cut else whole


ENCODED = lines(GOOD[:20]) + '{"id": 90, "question": "Où est le café n° 5?", "answer": "1"}\n'.encode("latin-1") * 3 + lines(GOOD[20:])
BAD = {
    # name: (content, what validate says, what run says)
    "mixed-encodings.jsonl": (ENCODED, ["line 21", "UTF-8"], ["line 21", "UTF-8"]),
    "nested.jsonl": (lines([json.dumps(row) for row in GOOD]), ["line 1", "encoded twice"], ["encoded twice"]),
    "long-line.jsonl": (lines(GOOD[:10]) + b'{"question": "' + b"x" * 10_500_000 + b"\n", ["line 11"], ["line 11"]),
    "nan.jsonl": (lines(many(answer=float("nan"))), ["NaN", "line 1"], ["NaN", "line 1"]),
    "nothing.jsonl": (lines(many(answer=None)), ["nothing", "line 1"], ["nothing", "line 1"]),
    "ids.jsonl": (lines(many(id=7)), ["line 5", "id 7 again"], ["id '7' again", "first in line"]),
    "columns.jsonl": (lines([{"frage": r["question"], "answer": r["answer"]} for r in GOOD]), ["columns"], ["no column 'question'"]),
    "no-train.jsonl": (lines([{**r, "split": "test"} for r in GOOD]), [], ["train"]),
    "splits.jsonl": (lines([{**r, "split": "trian"} for r in GOOD]), [], ["trian", "unknown split"]),
    "empty.jsonl": (b"", ["0 of 0 rows"], ["no rows"]),
    "cut.parquet": (None, ["cut.parquet"], ["cut.parquet"]),
}
FINE = {
    "bom-crlf.jsonl": b"\xef\xbb\xbf" + lines(GOOD).replace(b"\n", b"\r\n"),
    "bom-crlf.csv": b"\xef\xbb\xbf" + "\r\n".join(["question,answer", *(f'"{r["question"]}",{r["answer"]}' for r in GOOD)]).encode(),
    "whole.parquet": None,
}


@pytest.fixture
def told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def say(*command):
        code = main(list(command))
        out = capsys.readouterr()
        return code, " ".join((out.out + out.err).split())

    return say


def put(folder, name, content):
    (folder / name).write_bytes(parquet(folder, name.startswith("cut")) if content is None else content)


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_by_both_commands_and_nothing_begins(name, told, tmp_path):
    content, by_validate, by_run = BAD[name]
    put(tmp_path, name, content)
    code, said = told("validate", name)
    assert code == (2 if by_validate else 0), said
    assert all(words in said for words in by_validate), said
    code, said = told("run", "untouched", "--task", f"file:{name}", "--student", "bundled:student", "--toy")
    assert code == 2, said
    assert all(words in said for words in by_run), said
    assert "Traceback" not in said
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", FINE)
def test_marks_and_line_ends_of_other_systems_are_no_defects(name, told, tmp_path):
    put(tmp_path, name, FINE[name])
    code, said = told("validate", name)
    assert code == 0, said
    assert "40" in said
