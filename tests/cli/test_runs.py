"""Runs from the command line: exit codes, interruption, budgets, other folders, replay."""

import os
import signal
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import orjson
import pytest
from test_usage import FOLDS, PAIR, SMALL, place  # noqa: F401
from test_usage import tutelage as afresh

import forked
from tutelage.cli import main

pytestmark = pytest.mark.xdist_group("recipes")


def tutelage(*arguments):
    return forked.run("-m", "tutelage", *arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that came to its end: its folder, what it was called with and what it printed."""
    out = tmp_path_factory.mktemp("finished") / "run"
    command = ("run", "sft", *FOLDS, *PAIR, *SMALL, "--out", str(out))
    done = afresh(*command, "--json")
    assert done.returncode == 0, done.stderr
    return out, command, orjson.loads(done.stdout)


def test_a_run_ends_with_its_report_and_all_arms(finished):
    out, _, found = finished
    assert found["fits"] >= 1
    assert found["refused"] == {}
    assert {arm["name"] for arm in found["arms"]} == {"untouched", "sft", "answers_only"}
    assert found["report"] == str(out / "report.html")
    assert (out / "report.html").read_text().lstrip().lower().startswith("<!doctype html>")
    assert (out / "report.md").exists()


def test_the_same_command_repeats_nothing_and_loads_no_engine(finished):
    out, command, _ = finished
    program = (
        f"import sys\nfrom tutelage.cli import main\ncode = main({list(command)!r})\n"
        "print(code, 'torch' in sys.modules, 'transformers' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "0 False False"
    assert "0 new model calls and 0 new trainings in this invocation." in done.stdout
    assert "answers_only" in done.stdout
    assert str(out / "report.html") in done.stdout


def test_a_folder_of_another_run_is_refused_with_the_difference(finished, capsys):
    _, command, _ = finished
    assert main([*command, "--set", "rationale_tokens=20"]) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in ("holds another run", "got: settings.rationale_tokens: there 48, here 20\n", "--out")), said


@pytest.mark.parametrize("verb", ["run", "report", "export"])
def test_a_damaged_run_file_is_named_with_the_way_out(finished, verb, tmp_path, capsys):
    out, command, _ = finished
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "run.json").write_bytes((out / "run.json").read_bytes()[:100])
    words = {"run": [*command[:-1], str(torn)], "report": ["report", str(torn)], "export": ["export", str(torn)]}[verb]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert str(torn / "run.json") in said
    assert "is damaged" in said
    assert "another --out folder" in said


def test_the_report_is_written_again_from_the_folder_alone(finished, capsys):
    out, _, _ = finished
    for name in ("report.html", "report.md"):
        (out / name).unlink()
    assert main(["report", str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(out / "report.html"), str(out / "report.md")]
    assert (out / "report.html").exists()
    assert (out / "report.md").exists()


def test_data_and_student_are_exported(finished, tmp_path, capsys):
    out, _, _ = finished
    assert main(["export", str(out), "--out", str(tmp_path / "export")]) == 0
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert written
    assert all(path.exists() for path in written)
    assert main(["export", str(out), "--out", str(tmp_path / "again"), "--json"]) == 0
    assert [Path(p).name for p in orjson.loads(capsys.readouterr().out)] == [p.name for p in written]


@pytest.mark.parametrize(("option", "word"), [("--to", "trll"), ("--arm", "sftt"), ("--seed", "77")])
def test_an_export_of_what_is_not_there_is_refused(finished, option, word, capsys):
    out, _, _ = finished
    assert main(["export", str(out), option, word]) == 2
    said = capsys.readouterr().err
    assert word in said
    assert "fix:" in said


def test_a_teacher_that_writes_nothing_usable_ends_with_4_and_trains_nothing(tmp_path):
    out = tmp_path / "run"
    # What is asked for is echoed: every question in the reply is one of those that were shown.
    command = ("run", "arte", *FOLDS, "--teacher", "scripted:echo", *PAIR[2:], *SMALL, "--arm", "original_teacher", "--out", str(out))
    done = tutelage(*command)
    assert done.returncode == 4, done.stderr
    assert "kept 0 of" in done.stdout
    assert "stopped" in done.stdout
    assert not (out / "fits").exists()
    assert (out / "report.html").exists(), "a refused run is reported, too"
    assert tutelage(*command).returncode == 4, "and stays refused"


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


def interrupted(command, *, begun):
    """Start, wait for the first line of a stream, press Ctrl-C; the exit code and what was said on standard error."""
    with subprocess.Popen(
        [sys.executable, "-m", "tutelage", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        assert getattr(child, begun).readline(), "work has begun"
        os.kill(child.pid, signal.SIGINT)
        _, said = child.communicate()
    return child.returncode, said


def test_ctrl_c_ends_with_130_and_the_same_command_continues(tmp_path):
    command = ("run", "sft", *FOLDS, *PAIR, *SMALL, "--seed", "51", "--arm", "sft", "--out", str(tmp_path / "run"))
    code, said = interrupted(command, begun="stderr")  # the first line of progress: the teacher has answered
    assert code == 130, said
    assert "the same command continues" in said
    assert "Traceback" not in said
    done = tutelage(*command)
    assert done.returncode == 0, done.stderr


def test_ctrl_c_leaves_no_process_behind(tmp_path):
    out = tmp_path / "run"
    command = ("run", "sft", *FOLDS, *PAIR, *SMALL, "--seed", "52", "--seed", "53", "--arm", "sft", "--jobs", "2", "--out", str(out))
    code, said = interrupted(command, begun="stdout")  # the heading: two processes are being started
    assert code == 130, said
    assert "Traceback" not in said
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(out) not in running


def test_a_file_with_a_few_malformed_lines_goes_on_and_counts_them(place, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "run"
    with chdir(place):
        code = main(
            [
                "run",
                "untouched",
                "--task",
                "file:few_bad.jsonl",
                "--student",
                "scripted:echo",
                "--toy",
                "--test-limit",
                "3",
                "--out",
                str(out),
            ]
        )
    assert code == 0, capsys.readouterr().err
    held = orjson.loads((out / "run.json").read_bytes())
    assert sum(n for reason, n in held["task"]["dropped"].items() if "malformed" in reason) == 1, held["task"]["dropped"]
