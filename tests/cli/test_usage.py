"""The command line as a user meets it: every wrong input says what was wrong, which value it was and the way out."""

import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import orjson
import pytest

from tutelage.cli import main

PAIR = ("--teacher", "bundled:teacher", "--student", "bundled:student")
FOLDS = ("--task", "folds/msum")
RUN = ("run", "arte", *FOLDS, *PAIR)
SMALL = ("--task-set", "test_size=5", "--toy")


def tutelage(*arguments, cwd=None):
    return subprocess.run([sys.executable, "-m", "tutelage", *arguments], capture_output=True, text=True, cwd=cwd, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with files as users have them."""
    folder = tmp_path_factory.mktemp("place")
    rows = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(60)]
    lines = [orjson.dumps(row).decode() for row in rows]
    (folder / "good.jsonl").write_text("\n".join(lines))
    (folder / "few_bad.jsonl").write_text("\n".join([*lines[:30], "{'question': 'x', 'answer': 'y'}", *lines[30:]]))
    (folder / "many_bad.jsonl").write_text("\n".join([*lines[:20], *["not json"] * 20]))
    (folder / "one.jsonl").write_text(lines[0])
    (folder / "empty.jsonl").write_text("")
    (folder / "columns.csv").write_text("q,a\n" + "\n".join(f"What is {n}?,{n}" for n in range(40)))
    (folder / "no_model").mkdir()
    (folder / "half_model").mkdir()
    (folder / "half_model" / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    (folder / "pickled").mkdir()
    (folder / "pickled" / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    (folder / "pickled" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (folder / "recorded.jsonl").write_text('{"question": "What is 1 + 1?", "completion": "2"}')
    return folder


def task(name):
    return ("run", "arte", "--task", name, *PAIR)


WRONG = {
    # what is typed -> words that must be in the message: what, the value, the way out
    "recipe": (("run", "artte", *FOLDS, *PAIR), ("unknown recipe", "artte", "did you mean 'arte'")),
    "recipe with an underscore": (("run", "verified_sampling", *FOLDS, *PAIR), ("verified_sampling", "did you mean 'verified-sampling'")),
    "recipe to show": (("show", "art"), ("unknown recipe", "got: art", "did you mean 'arte'")),
    "recipe to plan": (("plan", "nope", *FOLDS, *PAIR), ("unknown recipe", "nope", "known: arte, ")),
    "task": (task("fold/msum"), ("no task is called", "fold/msum", "did you mean 'folds/msum'")),
    "task of a family": (task("folds/msumm"), ("no task is called", "folds/msumm", "did you mean 'folds/msum'")),
    "no task": (("run", "arte", *PAIR), ("--task", "tutelage run --help")),
    "option of a task": ((*RUN, "--task-set", "tset_size=3"), ("option", "tset_size", "did you mean 'test_size'")),
    "value of a task option": ((*RUN, "--task-set", "test_size=-3"), ("test_size", "-3", "at least 1")),
    "kind of model": (("run", "arte", *FOLDS, "--teacher", "bundeld:teacher", *PAIR[2:]), ("bundeld:teacher", "did you mean 'bundled'")),
    "bundled model": (("run", "arte", *FOLDS, "--teacher", "bundled:techer", *PAIR[2:]), ("techer", "did you mean 'teacher'")),
    "model without a kind": (("run", "arte", *FOLDS, "--teacher", "no_model", *PAIR[2:]), ("no_model", "did you mean 'hf:no_model'")),
    "no student": (("run", "sft", *FOLDS, *PAIR[:2]), ("needs a student", "--student MODEL")),
    "no teacher": (("run", "arte", *FOLDS, *PAIR[2:]), ("needs a teacher", "--teacher MODEL")),
    "model folder without a model": (
        ("run", "arte", *FOLDS, "--teacher", "hf:no_model", *PAIR[2:]),
        ("holds no model", "no_model", "save_pretrained"),
    ),
    "model folder without weights": (
        ("run", "arte", *FOLDS, "--teacher", "hf:half_model", *PAIR[2:]),
        ("no weights", "half_model", "model.safetensors"),
    ),
    "pickled weights": (
        ("run", "arte", *FOLDS, "--teacher", "hf:pickled", *PAIR[2:]),
        ("pickled weights", "pytorch_model.bin", "save_pretrained"),
    ),
    "model folder that is a file": (
        ("run", "arte", *FOLDS, "--teacher", "hf:good.jsonl", *PAIR[2:]),
        ("file, not a folder", "good.jsonl", "config.json"),
    ),
    "model folder that is not there": (
        ("run", "arte", *FOLDS, "--teacher", "hf:./nowhere", *PAIR[2:]),
        ("does not exist", "nowhere", "name a folder"),
    ),
    "teacher that cannot be trained": (
        ("run", "arte", *FOLDS, "--teacher", "recorded:recorded.jsonl", *PAIR[2:]),
        ("needs 'train' from its teacher", "recorded:recorded.jsonl, which can generate", "one of the arms", "best_of_n"),
    ),
    "student that cannot be trained": (
        ("run", "sft", *FOLDS, "--teacher", "recorded:recorded.jsonl", "--student", "recorded:recorded.jsonl"),
        ("needs 'train' from its student", "hf:DIR", "untouched"),
    ),
    "setting": ((*RUN, "--set", "draft=3"), ("no setting 'draft'", "did you mean 'drafts'")),
    "nested setting": ((*RUN, "--set", "sft.lrr=1"), ("no setting 'sft.lrr'", "got: lrr", "did you mean 'lr'")),
    "name inside a nested setting given whole": ((*RUN, "--set", 'sft={"lr": 1, "lrr": 2}'), ("no setting 'sft.lrr'", "did you mean 'lr'")),
    "name inside a part that was begun": ((*RUN, "--set", "sft.lora.rnak=4"), ("no setting 'sft.lora.rnak'", "did you mean 'rank'")),
    "type of a setting": ((*RUN, "--set", "drafts=many"), ("setting 'drafts'", "got: many", "integer")),
    "word for a setting": ((*RUN, "--set", "align=dop"), ("setting 'align'", "got: dop", "'dpo'", "'best_of_n'")),
    "negative setting": ((*RUN, "--set", "drafts=-1"), ("setting 'drafts'", "got: -1", "0 or more")),
    "training setting out of range": ((*RUN, "--set", "sft.lr=0"), ("'lr' must be positive", "got: 0")),
    "list that is none": ((*RUN, "--set", "shots=0,1"), ("setting 'shots'", "got: 0,1", "[0, 1]")),
    "setting without a value": ((*RUN, "--set", "drafts"), ("--set takes NAME=VALUE", "got: drafts", "for example")),
    "arm": ((*RUN, "--arm", "art"), ("no such arm", "got: art", "did you mean 'arte'")),
    "preset": ((*RUN, "--preset", "laptp"), ("unknown preset", "laptp", "did you mean 'laptop'")),
    "bundled pair under the paper's settings": ((*RUN, "--preset", "paper"), ("bundled teacher", "bundled:teacher", "--preset laptop")),
    "toy and a preset": ((*RUN, "--toy", "--preset", "laptop"), ("--toy and --preset disagree", "laptop", "use one")),
    "seed and seeds": ((*RUN, "--seed", "1", "--seeds", "2"), ("--seed and --seeds", "use one")),
    "no seeds": ((*RUN, "--seeds", "0"), ("--seeds must be at least 1", "got: 0", "--seeds 3")),
    "a seed twice": ((*RUN, "--seed", "1", "--seed", "1"), ("a seed is named twice", "[1, 1]", "once")),
    "processes": ((*RUN, "--jobs", "0"), ("--jobs", "0 is not in the range", "tutelage run --help")),
    "test limit": ((*RUN, "--test-limit", "0"), ("--test-limit", "0 is not in the range")),
    "option": ((*RUN, "--sead", "3"), ("--sead", "--seed", "--help")),
    "verb": (("lst",), ("lst", "list", "--help")),
    "budget": ((*RUN, "--budget", "call=3"), ("unknown quantity", "got: call", "did you mean 'calls'")),
    "amount of a budget": ((*RUN, "--budget", "calls=lots"), ("not a number", "got: lots", "calls=500")),
    "run folder that is a file": ((*RUN, "--toy", "--out", "good.jsonl"), ("--out is a file", "good.jsonl", "name a folder")),
    "report of no run": (("report", "no_model"), ("not a run folder", "got: no_model", "tutelage run")),
    "export of no run": (("export", "nowhere"), ("not a run folder", "got: nowhere", "tutelage run")),
    "file": (task("file:nope.jsonl"), ("no such file", "nope.jsonl", "spelling")),
    "column": (task("file:columns.csv"), ("no column 'question'", "columns: q, a", "question=q")),
    "empty file": (task("file:empty.jsonl"), ("empty.jsonl", "fix:")),
    "file of one row": (task("file:one.jsonl"), ("one.jsonl", "at least 2 are needed", "give more rows")),
    "mostly malformed file": (task("file:many_bad.jsonl"), ("many_bad.jsonl", "line 21", "not JSON")),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_input_is_named_with_its_value_and_the_way_out(place, case, capsys):
    typed, words = WRONG[case]
    with chdir(place):
        code = main(typed)
    out, err = capsys.readouterr()
    assert code == 2, err
    assert err.startswith("error: ")
    for word in words:
        assert word in err
    assert "fix: " in err or "must be" in err
    assert err.lower().count("did you mean") <= 1
    assert not out or out.startswith("arte on"), "nothing was begun"


@pytest.mark.parametrize("case", ["recipe", "no task", "file", "model folder without weights", "setting", "report of no run"])
def test_a_process_ends_with_2_without_a_traceback(place, case):
    typed, words = WRONG[case]
    done = tutelage(*typed, cwd=place)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words)
    assert done.stdout == ""


def test_nothing_was_written_by_all_that(place):
    assert not (place / "runs").exists()
    assert {p.name for p in place.iterdir()} == {
        "good.jsonl", "few_bad.jsonl", "many_bad.jsonl", "one.jsonl", "empty.jsonl", "columns.csv", "no_model", "half_model", "pickled",
        "recorded.jsonl",
    }  # fmt: skip


# -- what there is to see before a run -----------------------------------------------------------------------------------------


def test_list_names_every_recipe_on_one_line():
    done = tutelage("list")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == sorted(line.split()[0] for line in lines)
    assert {"arte", "sft", "untouched", "verified-sampling"} <= {line.split()[0] for line in lines}
    assert all(line.endswith(".") for line in lines)


def test_the_table_of_the_readme_is_what_the_cards_say():
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    table = readme.partition("<!-- tutelage list --markdown -->\n")[2].partition("<!-- end of list -->")[0]
    assert table == tutelage("list", "--markdown").stdout


def test_show_tells_algorithm_arms_settings_with_sources_and_what_the_paper_reports():
    text = tutelage("show", "arte").stdout
    for word in ("arXiv 2406.19227", " 6. Pairs: best over worst", "shuffled", "(the system)", "(the baseline)", "41.96 against 37.55"):
        assert word in text
    assert "drafts = 250 | laptop 30\n      m, draft questions per skill (Sec. 4.1)." in text
    assert "Deviations" in text
    told = orjson.loads(tutelage("show", "arte", "--json").stdout)
    assert told["settings"]["drafts"] == {"paper": 250, "laptop": 30, "doc": "m, draft questions per skill (Sec. 4.1)."}
    assert told["card"]["arm"] == "arte"


def test_plan_counts_calls_and_trainings_and_spends_nothing(workspace):
    done = tutelage("plan", "arte", *FOLDS, *PAIR, "--toy", "--json")
    assert done.returncode == 0, done.stderr
    rows = {(row["arm"], row["role"]): row for row in orjson.loads(done.stdout)["rows"]}
    assert rows["arte", "teacher"]["fits"] == rows["arte", "student"]["fits"] == 1
    assert rows["original_teacher", "student"]["fits"] == 1
    assert "fits" not in rows.get(("untouched", "teacher"), {})
    low, high = rows["arte", "teacher"]["calls"]
    assert 0 < low <= high
    text = tutelage("plan", "arte", *FOLDS, *PAIR, "--toy", "--arm", "arte").stdout
    assert "nothing was asked or trained" in text
    assert "arte" in text


def test_doctor_says_what_is_here():
    found = orjson.loads(tutelage("doctor", "--json").stdout)
    assert found["packages"]["torch"]
    assert found["bundled"]["teacher"]
    assert found["bundled"]["student"]
    assert found["keys"]["OPENAI_API_KEY"] is False
    assert "no problems found" in tutelage("doctor").stdout or "problem:" in tutelage("doctor").stdout


def test_help_is_there_for_every_verb_and_without_one(capsys):
    main([])
    said = capsys.readouterr()
    assert "Usage: tutelage" in said.out + said.err
    for verb in ("list", "show", "run", "plan", "report", "export", "doctor"):
        assert main([verb, "--help"]) == 0
        assert f"Usage: tutelage {verb}" in capsys.readouterr().out
