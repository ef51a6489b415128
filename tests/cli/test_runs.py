"""Runs from the command line: exit codes, interruption, budgets, other folders, replay."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from test_usage import FOLDS, PAIR, SMALL, place, tutelage  # noqa: F401

pytestmark = pytest.mark.xdist_group("recipes")

TAUGHT = ("run", "sft", *FOLDS, *PAIR, *SMALL)


def test_a_run_ends_with_its_table_and_report_and_the_same_command_repeats_nothing(tmp_path):
    out = tmp_path / "run"
    first = tutelage(*TAUGHT, "--out", str(out), "--json")
    assert first.returncode == 0, first.stderr
    found = orjson.loads(first.stdout)
    assert found["fits"] == 2
    assert Path(found["report"]).read_text().lstrip().lower().startswith("<!doctype html>")
    assert (out / "report.md").exists()
    assert {arm["name"] for arm in found["arms"]} == {"untouched", "sft", "answers_only"}

    again = tutelage(*TAUGHT, "--out", str(out))
    assert again.returncode == 0, again.stderr
    assert "0 new model calls and 0 new trainings in this invocation." in again.stdout
    assert "sft" in again.stdout
    assert str(out / "report.html") in again.stdout

    for name in ("report.html", "report.md"):
        (out / name).unlink()
    report = tutelage("report", str(out))
    assert report.returncode == 0, report.stderr
    assert report.stdout.splitlines() == [str(out / "report.html"), str(out / "report.md")]
    assert (out / "report.html").exists()

    export = tutelage("export", str(out), "--out", str(tmp_path / "export"))
    assert export.returncode == 0, export.stderr
    written = [Path(line) for line in export.stdout.splitlines()]
    assert written
    assert all(path.exists() for path in written)
    wrong = tutelage("export", str(out), "--to", "trll")
    assert wrong.returncode == 2, wrong.stderr
    assert "trll" in wrong.stderr
    nobody = tutelage("export", str(out), "--arm", "sftt")
    assert nobody.returncode == 2, nobody.stderr
    assert "sftt" in nobody.stderr


def test_a_finished_run_is_repeated_without_an_engine(tmp_path):
    out = tmp_path / "run"
    arguments = ["run", "untouched", *FOLDS, *PAIR[2:], *SMALL, "--out", str(out)]
    assert tutelage(*arguments).returncode == 0
    program = (
        f"import sys\nfrom tutelage.cli import main\ncode = main({arguments!r})\n"
        "print(code, 'torch' in sys.modules, 'transformers' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "0 False False"


def test_a_folder_of_another_run_is_refused_with_the_difference(tmp_path):
    out = tmp_path / "run"
    command = ("run", "untouched", *FOLDS, *PAIR[2:], *SMALL, "--out", str(out))
    assert tutelage(*command).returncode == 0
    other = tutelage(*command, "--set", "rationale_tokens=20")
    assert other.returncode == 2
    for word in ("holds another run", "rationale_tokens", "20", "--out"):
        assert word in other.stderr


def test_a_teacher_that_writes_nothing_usable_ends_with_4_and_trains_nothing(tmp_path):
    out = tmp_path / "run"
    done = tutelage("run", "sft", *FOLDS, "--teacher", "scripted:echo", *PAIR[2:], *SMALL, "--arm", "sft", "--out", str(out))
    assert done.returncode == 4, done.stderr
    assert "kept 0 of" in done.stdout
    assert "stopped" in done.stdout
    assert not (out / "fits").exists()
    assert (out / "report.html").exists(), "a refused run is reported, too"
    assert (
        tutelage("run", "sft", *FOLDS, "--teacher", "scripted:echo", *PAIR[2:], *SMALL, "--arm", "sft", "--out", str(out)).returncode == 4
    )


def test_a_spent_budget_ends_with_3_and_a_larger_one_continues(tmp_path):
    out = tmp_path / "run"
    command = ("run", "sft", *FOLDS, *PAIR, *SMALL, "--seed", "41", "--arm", "sft", "--out", str(out))
    poor = tutelage(*command, "--budget", "calls=1")
    assert poor.returncode == 3, poor.stderr
    assert "error:" in poor.stderr
    assert "--budget" in poor.stderr
    assert "Traceback" not in poor.stderr
    rich = tutelage(*command, "--budget", "calls=1000")
    assert rich.returncode == 0, rich.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_ends_with_130_leaves_no_process_and_the_same_command_continues(tmp_path, jobs):
    out = tmp_path / "run"
    seeds = ("--seed", f"5{jobs}", "--seed", f"6{jobs}")
    command = ("run", "sft", *FOLDS, *PAIR, *SMALL, *seeds, "--arm", "sft", "--jobs", jobs, "--out", str(out))
    child = subprocess.Popen(
        [sys.executable, "-m", "tutelage", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert child.stderr is not None
    assert "seed" in child.stderr.readline(), "work has begun"
    os.kill(child.pid, signal.SIGINT)
    _, err_text = child.communicate()
    assert child.returncode == 130, err_text
    assert "the same command continues" in err_text
    assert "Traceback" not in err_text
    workers = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in workers.splitlines() if str(out) in line and "worker" in line]
    done = tutelage(*command)
    assert done.returncode == 0, done.stderr


def test_a_file_with_a_few_malformed_lines_goes_on_and_counts_them(place, tmp_path):  # noqa: F811
    done = tutelage(
        "run",
        "untouched",
        "--task",
        "file:few_bad.jsonl",
        *PAIR[2:],
        "--preset",
        "toy",
        "--test-limit",
        "3",
        "--out",
        str(tmp_path / "run"),
        cwd=place,
    )
    assert done.returncode == 0, done.stderr
    held = orjson.loads((tmp_path / "run" / "run.json").read_bytes())
    assert any("malformed" in reason for reason in held["task"]["dropped"]), held["task"]["dropped"]
    assert sum(held["task"]["dropped"].values()) >= 1
