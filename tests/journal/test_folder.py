import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import StorageError
from tutelage.journal.folder import ArmJournal, read_lines, write_whole
from tutelage.records import Example, Origin, Problem, Prompt

PROBLEMS = [Problem(text=f"line\n{i}\u2028 ?", answer=str(i), origin=Origin(step="s")) for i in range(3)]


@pytest.fixture
def journal(tmp_path):
    held = ArmJournal(tmp_path / "seeds" / "0" / "arte")
    held.start()
    return held


# -- events --------------------------------------------------------------------------------------------------------------------


def test_events_come_back_in_order_with_what_was_said(journal):
    journal.event("yield", step="drafts", asked=5, dropped={"repeat": 1})
    journal.event("note", name="n", value=[1.5, None, "é\n"])
    kinds = [e["event"] for e in journal.events()]
    assert kinds == ["start", "yield", "note"]
    assert journal.events()[2] == {"event": "note", "name": "n", "value": [1.5, None, "é\n"]}


def test_a_second_attempt_appends_and_readers_see_the_last_one(journal):
    journal.event("yield", step="first")
    journal.event("done")
    assert journal.done()
    again = ArmJournal(journal.folder)
    again.start()
    assert not again.done()
    again.event("yield", step="second")
    assert [e.get("step") for e in again.events()] == [None, "second"]
    assert len(list(read_lines(journal.folder / "events.jsonl"))) == 5, "nothing was taken away"


@pytest.mark.parametrize("kind", ["done", "refused"])
def test_an_arm_is_finished_by_its_end_or_by_a_refusal(journal, kind):
    assert not journal.done()
    journal.event(kind)
    assert journal.done()


def test_a_refusal_behind_unanswered_requests_is_tried_again(journal):
    journal.event("unanswered", role="teacher", count=3)
    journal.event("refused")
    assert not journal.done()
    journal.start()
    journal.event("refused")
    assert journal.done()


def test_a_folder_without_events_is_not_done_and_says_nothing(tmp_path):
    journal = ArmJournal(tmp_path / "never")
    assert journal.events() == []
    assert not journal.done()
    assert journal.records("pairs") == []


def test_a_torn_last_line_is_skipped_and_the_next_event_is_whole(journal):
    path = journal.folder / "events.jsonl"
    journal.event("yield", step="kept")
    whole = path.read_bytes()
    line = orjson.dumps({"event": "done", "note": "naïve"}) + b"\n"
    for cut in range(1, len(line) - 1):
        path.write_bytes(whole + line[:cut])
        assert [e["event"] for e in journal.events()] == ["start", "yield"]
        assert not journal.done()
        journal.event("next", n=cut)
        assert [e["event"] for e in journal.events()] == ["start", "yield", "next"]


def test_a_kill_before_the_newline_alone_loses_nothing(journal):
    path = journal.folder / "events.jsonl"
    journal.event("done")
    path.write_bytes(path.read_bytes()[:-1])
    assert journal.done()
    journal.event("after")
    assert [e["event"] for e in journal.events()] == ["start", "done", "after"]


def test_a_line_of_something_else_is_no_event(journal):
    with (journal.folder / "events.jsonl").open("ab") as file:
        file.write(b'3\n[]\nnull\n\n{"event": "yield"}\n')
    assert [e["event"] for e in journal.events()] == ["start", "yield"]


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from("abc"), st.integers().filter(lambda n: abs(n) < 2**53) | st.text(st.characters(codec="utf-8")), max_size=2
        ),
        max_size=4,
    )
)
def test_any_event_survives(tmp_path_factory, bodies):
    journal = ArmJournal(tmp_path_factory.mktemp("arm"))
    for body in bodies:
        journal.event("e", **body)
    assert journal.events() == [{"event": "e", **body} for body in bodies]


# -- records -------------------------------------------------------------------------------------------------------------------


def test_records_come_back_equal_and_are_announced(journal):
    journal.keep("drafts", PROBLEMS)
    journal.keep("nothing", [])
    assert journal.records("drafts") == PROBLEMS
    assert [r.origin for r in journal.records("drafts")] == [p.origin for p in PROBLEMS]
    assert journal.records("nothing") == []
    assert journal.events()[1:] == [
        {"event": "keep", "name": "drafts", "type": "Problem", "count": 3},
        {"event": "keep", "name": "nothing", "type": "", "count": 0},
    ]


def test_keeping_a_name_again_replaces_the_file_whole(journal):
    journal.keep("drafts", PROBLEMS)
    journal.keep("drafts", PROBLEMS[:1])
    assert journal.records("drafts") == PROBLEMS[:1]
    assert [p.name for p in (journal.folder / "records").iterdir()] == ["drafts.jsonl"], "no part file is left"


def test_a_damaged_record_file_is_named_with_its_line(journal):
    journal.keep("drafts", PROBLEMS)
    path = journal.folder / "records" / "drafts.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"answer":"1"', b'"answer":"7"'))
    with pytest.raises(StorageError) as broken:
        journal.records("drafts")
    assert f"line 2 of {path}" in str(broken.value)
    assert "hash to its own id" in str(broken.value)
    assert "--out" in str(broken.value.fix)


def test_half_a_record_line_is_never_read_as_a_record(journal):
    journal.keep("drafts", PROBLEMS)
    path = journal.folder / "records" / "drafts.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StorageError, match="line 3 of"):
        journal.records("drafts")


# -- writing whole files -------------------------------------------------------------------------------------------------------


def test_a_file_is_written_whole_with_its_folders(tmp_path):
    path = tmp_path / "a" / "b" / "file.json"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


KILLED = """
import sys
from pathlib import Path
from tutelage.journal.folder import write_whole
path, size = Path(sys.argv[1]), int(sys.argv[2])
for number in range(10_000):
    write_whole(path, bytes([number % 256]) * size)
    print(number, flush=True)
"""


@pytest.mark.parametrize("after", [1, 3, 7])
def test_a_kill_leaves_the_old_file_or_the_new_one(tmp_path, after):
    path, size = tmp_path / "file", 2**20
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(path), str(size)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    for _ in range(after):
        child.stdout.readline()
    # The next file is being written now.
    child.kill()
    child.wait()
    child.stdout.close()
    body = path.read_bytes()
    assert len(body) == size
    assert len(set(body)) == 1


# -- when the disk refuses -----------------------------------------------------------------------------------------------------

FULL = """
import resource, sys
from pathlib import Path
from tutelage.errors import StorageError
from tutelage.journal.folder import ArmJournal, write_whole
from tutelage.records import Problem
journal = ArmJournal(Path(sys.argv[1]))
journal.start()
journal.keep("before", [Problem(text="q")])
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    if sys.argv[2] == "records":
        journal.keep("pairs", [Problem(text="x" * 10_000)])
    else:
        for n in range(1000):
            journal.event("note", n=n, value="y" * 50)
except StorageError as error:
    print(error.exit_code)
    print(error)
"""


@pytest.mark.parametrize(("what", "file"), [("records", "records/pairs.jsonl"), ("events", "events.jsonl")])
def test_a_full_disk_is_a_storage_error_that_names_the_file_and_leaves_the_journal_readable(tmp_path, what, file):
    folder = tmp_path / "arm"
    done = subprocess.run([sys.executable, "-c", FULL, str(folder), what], capture_output=True, text=True, check=True)
    code, message = done.stdout.split("\n", 1)
    assert code == "1"
    assert f"no space left while writing {folder / file}" in message
    assert "fix: free some space and run the same command again: it continues" in message
    journal = ArmJournal(folder)
    assert journal.records("before") == [Problem(text="q")]
    assert journal.records("pairs") == []
    assert all(e["event"] in ("start", "keep", "note") for e in journal.events())
    assert not list(folder.rglob("*.part"))
    journal.event("after")
    assert journal.events()[-1] == {"event": "after"}, "the torn line does not swallow what comes after it"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_device_without_space_is_named(tmp_path):
    folder = tmp_path / "arm"
    folder.mkdir()
    (folder / "events.jsonl").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"no space left while writing .*events\.jsonl"):
        ArmJournal(folder).event("note")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(StorageError, match=r"file/seeds/0/arm cannot be written\n  got: Not a directory"):
        ArmJournal(blocked / "seeds" / "0" / "arm").start()
    with pytest.raises(StorageError, match=r"run\.json cannot be written"):
        write_whole(blocked / "run.json", b"{}")


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    (tmp_path / "arm" / "records" / "pairs.jsonl").mkdir(parents=True)
    (tmp_path / "arm" / "events.jsonl").mkdir()
    journal = ArmJournal(tmp_path / "arm")
    with pytest.raises(StorageError, match=r"pairs\.jsonl cannot be written\n  got: Is a directory"):
        journal.keep("pairs", [Example(prompt=Prompt.user("q"), completion="c")])
    with pytest.raises(StorageError, match=r"events\.jsonl cannot be written"):
        journal.event("note")
    assert not [p for p in (tmp_path / "arm" / "records").iterdir() if p.name.endswith(".part")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    folder = tmp_path / "arm"
    folder.mkdir(mode=0o500)
    with pytest.raises(StorageError, match="cannot be written\n  got: Permission denied"):
        ArmJournal(folder).event("note")
