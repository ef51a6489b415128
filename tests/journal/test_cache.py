import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import InternalError, StorageError
from tutelage.hashing import digest
from tutelage.journal.cache import CallCache


def row(n: int, *, model: str = "m", error: str | None = None) -> tuple[bytes, bytes]:
    call = {"kind": "generate", "index": n, "model_id": model}
    answer = {"text": f"answer {n}", "error": error} if error else {"text": f"answer {n}"}
    return digest(call), orjson.dumps({"answer": answer, "call": call, "model": model})


@pytest.fixture
def cache(tmp_path):
    with CallCache(tmp_path / "deep" / "cache.sqlite") as opened:
        yield opened


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.binary(min_size=16, max_size=16), st.binary(max_size=200), max_size=40))
def test_what_was_put_is_got_and_nothing_else(tmp_path_factory, items):
    with CallCache(tmp_path_factory.mktemp("cache") / "c.sqlite") as cache:
        assert cache.put_many(items.items()) == {}
        assert cache.get_many([*items, b"x" * 16]) == {k: v for k, v in items.items() if k != b"x" * 16} | (
            {b"x" * 16: items[b"x" * 16]} if b"x" * 16 in items else {}
        )
        assert len(cache) == len(items)


def test_more_keys_than_one_query_takes(cache):
    items = dict(row(n) for n in range(1_300))
    cache.put_many(items.items())
    assert cache.get_many(list(items)) == items


def test_the_first_answer_stays_and_the_loser_is_told(cache):
    key, body = row(1)
    other = row(2)
    assert cache.put_many([(key, body)]) == {}
    assert cache.put_many([(key, b'{"late":1}'), other]) == {key: body}
    assert cache.put_many([(key, body)]) == {}
    assert cache.get_many([key, other[0]]) == {key: body, other[0]: other[1]}


def test_a_key_of_the_wrong_length_is_refused(cache):
    with pytest.raises(InternalError, match="wrong length"):
        cache.put_many([(b"short", b"{}")])
    assert len(cache) == 0


def test_answers_are_there_after_a_kill(tmp_path):
    path = tmp_path / "c.sqlite"
    program = (
        "import sys, os, signal\n"
        "from tutelage.journal.cache import CallCache\n"
        "cache = CallCache(sys.argv[1])\n"
        "for n in range(50):\n"
        "    cache.put_many([(bytes([n]) * 16, b'[%s1]' % (b'1,' * 500))])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    with CallCache(path) as cache:
        assert len(cache.get_many([bytes([n]) * 16 for n in range(50)])) == 50
        assert cache.verify() == []


def test_several_processes_write_at_once(tmp_path):
    path = tmp_path / "c.sqlite"
    program = (
        "import sys\n"
        "from tutelage.journal.cache import CallCache\n"
        "who = int(sys.argv[2])\n"
        "with CallCache(sys.argv[1]) as cache:\n"
        "    for n in range(60):\n"
        "        cache.put_many([(bytes([who, n]) * 8, b'{}'), (bytes([9, n]) * 8, b'[%d]' % who)])\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", program, str(path), str(who)]) for who in range(4)]
    assert [p.wait() for p in processes] == [0, 0, 0, 0]
    with CallCache(path) as cache:
        assert len(cache) == 4 * 60 + 60
        assert cache.verify() == []


def test_full_disk_names_file_need_and_way_out_and_loses_nothing(tmp_path):
    path = tmp_path / "c.sqlite"
    committed = []
    with CallCache(path, max_bytes=200_000) as cache:

        def fill() -> None:
            for n in range(10_000):
                items = [(bytes([n % 256, n // 256]) * 8, os.urandom(900))]
                cache.put_many(items)
                committed.extend(items)

        with pytest.raises(StorageError) as caught:
            fill()
        message = str(caught.value)
        assert str(path) in message
        assert "bytes needed" in message
        assert "continues" in message
        assert caught.value.exit_code == 1
        assert cache.get_many([k for k, _ in committed]) == dict(committed)
    assert 50 < len(committed) < 250
    with CallCache(path) as roomier:
        roomier.put_many([(b"after" + b"." * 11, b"room")])
        assert len(roomier) == len(committed) + 1


def test_files_that_are_not_ours_are_left_alone(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("these are not the bytes of a database, but a long enough line to look at" * 20)
    before = text.read_bytes()
    with pytest.raises(StorageError, match="damaged"):
        CallCache(text)
    assert text.read_bytes() == before
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    with pytest.raises(StorageError, match="not a call cache"):
        CallCache(other)


def test_another_format_is_named(tmp_path):
    path = tmp_path / "c.sqlite"
    CallCache(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StorageError, match="format 99"):
        CallCache(path)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be made"):
        CallCache(tmp_path / "file" / "c.sqlite")


def test_damage_is_found_named_and_pruned(tmp_path):
    path = tmp_path / "c.sqlite"
    with CallCache(path) as cache:
        cache.put_many([row(n) for n in range(5)])
    wrong_place = row(7)
    db = sqlite3.connect(path)
    with db:
        db.execute("UPDATE calls SET body = x'00112233' WHERE key = ?", (row(2)[0],))
        db.execute("UPDATE calls SET body = ? WHERE key = ?", (zlib.compress(wrong_place[1]), row(3)[0]))
    db.close()
    with CallCache(path) as cache:
        found = cache.verify()
        assert len(found) == 2
        assert any(row(2)[0].hex() in line and "unreadable" in line for line in found)
        assert any(row(3)[0].hex() in line and "another key" in line for line in found)
        with pytest.raises(StorageError, match="damaged"):
            cache.get_many([row(2)[0]])
        assert cache.prune(broken=True) == 1
        assert len(cache.get_many([row(n)[0] for n in range(5)])) == 4


def test_damaged_pages_are_reported_not_raised_by_verify(tmp_path):
    path = tmp_path / "c.sqlite"
    with CallCache(path) as cache:
        cache.put_many((bytes([n % 256, n // 256]) * 8, os.urandom(600)) for n in range(400))
    body = bytearray(path.read_bytes())
    for page in range(10, 40):
        body[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(body)
    with CallCache(path) as cache:
        assert cache.verify()
        with pytest.raises(StorageError, match=r"damaged|failed"):
            list(cache.rows())


def test_stats_count_rows_models_kinds_and_errors(cache):
    cache.put_many([row(n, model="a") for n in range(3)] + [row(n, model="b", error="no answer") for n in range(10, 12)])
    stats = cache.stats()
    assert (stats.rows, stats.errors) == (5, 2)
    assert stats.by_model == {"a": 3, "b": 2}
    assert stats.by_kind == {"generate": 5}
    assert stats.plain_bytes == sum(len(row(n, model="a")[1]) for n in range(3)) + sum(
        len(row(n, model="b", error="no answer")[1]) for n in (10, 11)
    )
    assert stats.file_bytes > stats.body_bytes > 0


def test_prune_by_model_and_errors(cache):
    cache.put_many([row(1, model="a"), row(2, model="a", error="gone"), row(3, model="b", error="gone")])
    assert cache.prune(model="a", errors=True) == 1
    assert set(cache.get_many([row(n, model=m)[0] for n, m in ((1, "a"), (2, "a"), (3, "b"))])) == {
        row(1, model="a")[0],
        row(3, model="b")[0],
    }
    assert cache.prune(older_than_s=3600) == 0
    assert cache.prune(model="b") == 1
    with pytest.raises(InternalError, match="condition"):
        cache.prune()
    assert len(cache) == 1


@settings(max_examples=20, deadline=None)
@given(st.lists(st.binary(max_size=1_500), max_size=300))
def test_bodies_of_any_size_and_number_come_back(bodies):
    items = [(digest(n), body) for n, body in enumerate(bodies)]
    with tempfile.TemporaryDirectory() as folder, CallCache(Path(folder) / "c.sqlite") as held:
        assert held.put_many(items) == {}
        assert held.get_many([key for key, _ in items]) == dict(items)
        assert [(key, body) for key, body, _ in held.rows()] == items
        assert held.put_many([(key, body + b"!") for key, body in items]) == dict(items)


def test_a_flipped_bit_is_noticed_in_small_and_large_bodies(cache):
    for size in (40, 400, 4_000):
        key, body = digest(size), bytes(range(65, 91)) * (size // 26)
        cache.put_many([(key, body)])
        with sqlite3.connect(cache.path) as other:
            (packed,) = other.execute("SELECT body FROM calls WHERE key = ?", (key,)).fetchone()
            place = len(packed) // 2
            other.execute(
                "UPDATE calls SET body = ? WHERE key = ?", (packed[:place] + bytes([packed[place] ^ 1]) + packed[place + 1 :], key)
            )
        other.close()
        with pytest.raises(StorageError, match="is damaged"):
            cache.get_many([key])


def test_carried_into_another_process_is_refused(cache):
    child = os.fork()
    if child == 0:
        try:
            cache.get_many([b"x" * 16])
        except InternalError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
