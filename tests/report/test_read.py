"""Reading run folders that are finished, running, torn or damaged."""

import pytest

from report.sample_run import ARMS, write_run
from tutelage.errors import DataError, StorageError
from tutelage.records import Example, Pair
from tutelage.report.read import kept_names, kept_of_type, read_run, read_table, records


def test_a_finished_run(tmp_path):
    run = read_run(write_run(tmp_path / "run"))
    assert run.seeds == (0, 1, 2)
    assert [a.name for a in run.arms] == list(ARMS)
    assert [a.name for a in run.arms if a.control] == ["shuffled"]
    assert {r.state for r in run.runs.values()} == {"finished"}
    arte = run.runs[0, "arte"]
    assert kept_names(arte)[:3] == ["drafts", "draft_solutions", "probes"]
    assert kept_of_type(arte, Pair) == ["pairs"]
    assert all(isinstance(x, Example) for x in records(arte, "examples"))
    assert records(arte, "no such name") == ()
    assert arte.note("reliability")["verdict"] in ("reliable", "unsure")
    assert arte.note("no such note") is None


def test_missing_torn_and_refused_arms_are_told_apart(tmp_path):
    run = read_run(write_run(tmp_path / "run", skip=((1, "arte"),), cut=((2, "arte"),), refused=((0, "shuffled"),)))
    assert run.runs[1, "arte"].state == "not started"
    assert run.runs[2, "arte"].state == "unfinished"
    assert run.runs[0, "shuffled"].state == "refused"
    assert run.runs[0, "shuffled"].refusal == "the student's preference is too noisy to align by; 0.31 within a skill; more probes"
    assert run.runs[0, "arte"].refusal == ""


def test_only_the_last_attempt_counts(tmp_path):
    folder = write_run(tmp_path / "run", seeds=(0,), arms=("arte", "original_teacher"))
    events = folder / "seeds" / "0" / "arte" / "events.jsonl"
    events.write_bytes(events.read_bytes() + b'{"event":"start"}\n{"event":"yield","step":"drafts","asked":1,"parsed":1,"kept":1}\n')
    arte = read_run(folder).runs[0, "arte"]
    assert arte.state == "unfinished"
    assert len(arte.of_kind("yield")) == 1


def test_arms_and_seeds_that_run_json_does_not_name_are_found(tmp_path):
    folder = write_run(tmp_path / "run", seeds=(0, 7), arms=("untouched", "arte"))
    about = (folder / "run.json").read_text().replace('"seeds": [\n    0,\n    7\n  ]', '"seeds": [0]')
    assert '"seeds": [0]' in about
    (folder / "run.json").write_text(about)
    (folder / "seeds" / "0" / "extra").mkdir()
    run = read_run(folder)
    assert run.seeds == (0, 7)
    assert "extra" in {a.name for a in run.arms}
    assert run.runs[0, "extra"].state == "unfinished"


def test_arms_as_a_list_of_names(tmp_path):
    (tmp_path / "run.json").write_text('{"recipe": "sft", "arms": ["a", "b"], "seeds": [0]}')
    run = read_run(tmp_path)
    assert [a.name for a in run.arms] == ["a", "b"]
    assert {r.state for r in run.runs.values()} == {"not started"}


def test_damaged_records_are_counted_and_left_out(tmp_path):
    folder = write_run(tmp_path / "run", seeds=(0,), arms=("arte",))
    path = folder / "seeds" / "0" / "arte" / "records" / "examples.jsonl"
    lines = path.read_bytes().splitlines()
    edited = lines[1].replace(b"Mon", b"Wed", 1)
    path.write_bytes(b"\n".join([lines[0], edited, b"{torn", *lines[2:]]))
    table = read_table(path.parent, "examples")
    assert table.damaged == 2
    assert len(table.records) == len(lines) - 1


@pytest.mark.parametrize("content", ["not json", "[1, 2]"])
def test_a_damaged_run_file_is_named(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(StorageError, match=r"run\.json is damaged"):
        read_run(tmp_path)


def test_a_folder_that_is_no_run_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(DataError, match="is not a run folder") as caught:
        read_run(tmp_path)
    assert "run.json" in str(caught.value)
