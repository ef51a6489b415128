"""What goes wrong on a user's machine in the middle of real runs: what is told, what is kept, and that the same command goes on."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from own_models import STILL, tutelage

import forked
from checkpoints import tiny_checkpoint, tiny_encoder

pytestmark = pytest.mark.xdist_group("bad_days")

BUNDLED = ("--student", "bundled:student", "--preset", "toy")


def sums(count, start=0):
    return [{"question": f"What is {n} plus {n}?", "answer": str(2 * n)} for n in range(start, start + count)]


def write(path, rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """An untaught GPT-2 of a hundred tokens of context."""
    folder = tmp_path_factory.mktemp("models") / "short"
    corpus = ["Answer the question. Question: What is 7 plus 7? Think step by step, then give your answer. It makes 14. <ans>14</ans>"]
    return tiny_checkpoint(folder, "gpt2", seed=3, width=32, context=100, corpus=corpus, **STILL)


# -- texts longer than the context ---------------------------------------------------------------------------------------------


def test_texts_longer_than_the_context_are_counted_and_the_run_goes_on(short, tmp_path):
    story = "Once upon a time there was a shop, and in this shop they sold lamps of every kind. " * 5
    rows = [{**row, "question": story * (n % 3 == 0) + row["question"]} for n, row in enumerate(sums(60))]
    task = write(tmp_path / "rows.jsonl", rows)
    answers = [{"question": row["question"], "completion": f"It makes {row['answer']}. <ans>{row['answer']}</ans>"} for row in rows]
    teacher = write(tmp_path / "answers.jsonl", answers)
    command = (
        "run", "sft", "--task", f"file:{task}", "--teacher", f"recorded:{teacher}", "--student", f"hf:{short}", "--toy",
        "--set", "examples=24", "--arm", "untouched", "--arm", "sft", "--out", tmp_path / "run",
    )  # fmt: skip
    done = tutelage(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    events = [json.loads(x) for x in (tmp_path / "run" / "seeds" / "0" / "sft" / "events.jsonl").read_text().splitlines()]
    fit = next(e for e in events if e["event"] == "fit")
    too_long = fit["dropped"]["longer than the context"]
    assert 0 < too_long < fit["examples"]
    assert fit["seen"] == fit["examples"] - too_long, "the others were trained on"
    unasked = next(e for e in events if e["event"] == "unanswered")
    card = next(e for e in events if e["event"] == "scorecard")
    assert 0 < unasked["count"] < unasked["asked"] == card["n"]
    assert "leaves no room in a context of 100" in unasked["example"]
    page, again = (tmp_path / "run" / "report.md").read_text(), tutelage(*command, "--json", cwd=tmp_path)
    for told in (done.stdout, page, " ".join(json.loads(again.stdout)["left_out"])):
        assert f"given {fit['examples']} examples or pairs: {too_long} texts longer than the context, left out" in told
        assert f"could not answer {2 * unasked['count']} of {2 * unasked['asked']} requests" in told, "in both arms"


def test_where_every_text_is_too_long_nothing_is_trained_and_the_context_is_named(short, tmp_path):
    rows = [{**row, "question": "Once upon a time there was a shop. " * 20 + row["question"]} for row in sums(30)]
    task = write(tmp_path / "rows.jsonl", rows)
    teacher = write(tmp_path / "answers.jsonl", [{"question": row["question"], "completion": "<ans>1</ans>"} for row in rows])
    done = tutelage(
        "run", "sft", "--task", f"file:{task}", "--teacher", f"recorded:{teacher}", "--student", f"hf:{short}", "--toy",
        "--arm", "sft", "--out", tmp_path / "run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    for word in ("nothing is left to train on", "6 longer than the context of 100 tokens", "a model with a longer context"):
        assert word in done.stdout
    assert "0 new trainings" in done.stdout
    assert not (tmp_path / "run" / "fits").exists()


# -- models and files that do not fit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_a_model_that_writes_nothing_is_refused_before_any_work(role, tmp_path):
    encoder = tiny_encoder(tmp_path / "encoder")
    models = {"teacher": "bundled:teacher", "student": "bundled:student"} | {role: f"hf:{encoder}"}
    done = tutelage(
        "run", "arte", "--task", "folds/msum", "--teacher", models["teacher"], "--student", models["student"], "--toy", cwd=tmp_path
    )
    assert done.returncode == 2, done.stderr
    for word in (f"needs 'generate' from its {role}", f"hf:{encoder}, which can embed", "use a model that writes text", "openai:MODEL"):
        assert word in done.stderr
    assert not (tmp_path / "runs").exists()


def test_malformed_rows_and_repeats_across_splits_are_told_in_the_report(tmp_path):
    rows = [{**row, "split": "train"} for row in sums(60)] + [{**row, "split": "test"} for row in sums(10, start=57)]
    task = write(tmp_path / "rows.jsonl", [*rows[:30], '{"question": "What is 1 plus', *rows[30:]])
    command = ("run", "untouched", "--task", f"file:{task}", *BUNDLED, "--out", tmp_path / "run")
    done = tutelage(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page, markdown = (tmp_path / "run" / "report.html").read_text(), (tmp_path / "run" / "report.md").read_text()
    for told in (done.stdout, page, markdown):
        assert "4 were left out: 1 malformed; 3 in train (stands in test too)" in told
        assert "line 31" in told
    card = json.loads((tmp_path / "run" / "run.json").read_text())["task"]
    assert card["splits"]["test"] == 10, "test rows are never lost"


# -- an impatient user ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_twice_ends_two_processes_at_once_and_the_same_command_goes_on(tmp_path):
    command = (
        "run", "sft", "--task", "folds/msum", "--teacher", "bundled:teacher", *BUNDLED, "--task-set", "test_size=5", "--arm", "sft",
        "--seeds", "2", "--jobs", "2", "--out", str(tmp_path / "run"),
    )  # fmt: skip
    stores = {"TUTELAGE_CACHE": str(tmp_path / "cache.sqlite")}
    child = subprocess.Popen(
        [sys.executable, "-m", "tutelage", *command], env={**os.environ, **stores}, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stderr is not None
    begun = set()
    while len(begun) < 2:
        line = child.stderr.readline()
        assert line, "the run ended before both seeds had begun"
        begun |= {word for word in ("seed 0", "seed 1") if word in line}
    workers = processes(tmp_path / "run")
    assert len(workers) >= 2, workers
    # As the terminal does it: to every process of the group, and once more because nothing seems to happen.
    os.killpg(child.pid, signal.SIGINT)
    os.killpg(child.pid, signal.SIGINT)
    _, told = child.communicate(timeout=120)
    assert child.returncode == 130, told
    assert "the same command continues" in told
    assert "Traceback" not in told
    for _ in range(200):  # workers end when they find their parent gone
        if not processes(tmp_path / "run"):
            break
        time.sleep(0.05)
    assert not processes(tmp_path / "run")
    done = tutelage(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "run").rglob("*.part")), "half-written files are swept up"
    assert len(list((tmp_path / "run" / "seeds").glob("*/sft/records/scorecards.jsonl"))) == 2


def processes(folder):
    """Process numbers of workers on this run folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().split(b"\0")
        except OSError:  # it ended while we looked
            continue
        if b"tutelage.experiments.worker" in words and any(str(folder).encode() in word for word in words):
            found.append(int(place.parent.name))
    return found


# -- a disk that is full -------------------------------------------------------------------------------------------------------

# The command line with a small disk of its own, which is filled from a folder before and copied back to it after: `unshare -Urm`.
SMALL_DISK = """
import ctypes, os, shutil, subprocess, sys
from pathlib import Path
from tutelage.cli import main

disk, kept, size, *command = sys.argv[1:]
maps = {"setgroups": "deny", "uid_map": f"0 {os.geteuid()} 1", "gid_map": f"0 {os.getegid()} 1"}
new_user, new_mounts = 0x10000000, 0x00020000
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(new_user | new_mounts) == 0, os.strerror(ctypes.get_errno())
for name, text in maps.items():
    Path("/proc/self", name).write_text(text)
subprocess.run(["mount", "--make-rprivate", "/"], check=True)
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", disk], check=True)
shutil.copytree(kept, disk, dirs_exist_ok=True)
code = main(command)
shutil.rmtree(kept)
shutil.copytree(disk, kept)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def namespaces():
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("a small disk needs Linux and unshare")
    tried = subprocess.run(["unshare", "-Urm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"this machine lets no user mount a tmpfs of their own: {tried.stderr.strip()[:80]}")


@pytest.mark.parametrize("on_it", ["weights", "ledger", "call cache"])
def test_a_full_disk_names_the_file_and_loses_nothing(on_it, namespaces, tmp_path):
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    kept.mkdir()
    on_cache = on_it == "call cache"
    run, cache = (tmp_path / "run", disk / "cache.sqlite") if on_cache else (disk / "run", tmp_path / "cache.sqlite")
    recipe, arm = ("untouched", "untouched") if on_cache else ("sft", "sft")
    # Some hundred questions: the answers of the first chunk fit on the small disk, those of the second do not.
    command = (
        "run", recipe, "--task", "folds/msum", "--teacher", "bundled:teacher", *BUNDLED, "--task-set",
        f"test_size={900 if on_cache else 5}", "--arm", arm, "--out", str(run),
    )  # fmt: skip

    def with_disk(size):
        stores = {"TUTELAGE_CACHE": str(cache), "TUTELAGE_RUNS": str(tmp_path / "runs")}
        return forked.run("-c", SMALL_DISK, disk, kept, size, *command, env={**os.environ, **stores})

    size, file = {"weights": (280, "run/fits"), "ledger": (64, "run/ledger.sqlite"), "call cache": (400, "cache.sqlite")}[on_it]
    full = with_disk(size)
    assert full.returncode == 1, full.stdout + full.stderr
    assert "Traceback" not in full.stderr
    for word in ("no space left", str(disk / file), "free some space", "the same command", "it continues"):
        assert word in full.stderr
    before = answers_in(kept / "cache.sqlite" if on_cache else cache)
    assert before or on_it == "ledger", "answers were committed before the disk was full; a ledger that cannot begin lets nothing be asked"

    # With room again the same command goes on from what was committed.
    room = with_disk(65536)
    assert room.returncode == 0, room.stderr
    after = answers_in(kept / "cache.sqlite" if on_cache else cache)
    assert before.items() <= after.items(), "what was committed is still there, unchanged"
    assert f"{len(after) - len(before):,} new model calls" in room.stdout, "no committed answer was asked for again"
    events = (run if on_cache else kept / "run") / "seeds" / "0" / arm / "events.jsonl"
    assert json.loads(events.read_text().splitlines()[-1])["event"] == "done"


def answers_in(cache):
    with sqlite3.connect(cache) as held:
        return dict(held.execute("select key, body from calls"))
