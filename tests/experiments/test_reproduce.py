"""Declared experiments from declaration to record: a recipe in a git work tree of its own, whose numbers are known beforehand."""

import os
import shutil
import subprocess
import sys

import orjson
import pytest

from tutelage.backends.scripted import Script, register
from tutelage.errors import DataError, SettingsError
from tutelage.experiments.claims import claims_page, declaration_page, read_records, write_claims
from tutelage.experiments.declaration import declared, seal_of
from tutelage.experiments.reproduce import experiments_of, prepare, reproduce, write_record
from tutelage.recipes import load_recipe

RECIPE = '''"""Known: arms whose numbers are known.

1. Note a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tutelage.card import Arm, Card, Contrast, Experiment
from tutelage.lab import Lab

CARD = Card(
    title="Known numbers", claim="What is larger is larger.", source="", family="test", kind="baseline", needs={"student": ("generate",)},
    steps=(), size="", arm="large", baseline="small",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    gain: float = 0.0
    """Of the arm; ours."""


LAPTOP: dict[str, Any] = dict(gain=0.5)
TOY: dict[str, Any] = {}
ARMS: dict[str, Arm] = {
    "large": Arm(summary="large"),
    "small": Arm(summary="small", changes={"gain": 0.0}),
    "dealt": Arm(summary="control", changes={"gain": 0.01}, control=True),
}
REPRODUCE = Experiment(
    task="folds/msum", task_options={"test_size": 4}, student="scripted:$KNOWN_STUDENT", seeds=3,
    contrasts=(
        Contrast(claim="Large is larger.", better="large", worse="small", metric="note:size", control="dealt", published="+0.4"),
        Contrast(claim="Small is larger.", better="small", worse="large", metric="note:size"),
    ),
    shrunk="To nothing.",
)


def run(lab: Lab, s: Settings) -> None:
    lab.note("size", s.gain + 0.001 * (lab.seed % 2 if s.gain else 1) + 0.002 * lab.seed)
    lab.note("seed", lab.seed)
'''


class Place:
    """A package with one recipe, installed from a git work tree."""

    def __init__(self, root, name):
        self.root, self.name = root, name
        self.docs = root / "docs"
        self.docs.mkdir()
        self.file = root / "src" / name / "known.py"
        self.file.parent.mkdir(parents=True)
        (self.file.parent / "__init__.py").touch()
        self.write(RECIPE)
        facts = root / "src" / f"{name}-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text(f"[tutelage.recipes]\n{name} = {name}.known\n")

    def write(self, text):
        self.file.write_text(text)
        shutil.rmtree(self.file.parent / "__pycache__", ignore_errors=True)  # another text within the same second
        sys.modules.pop(f"{self.name}.known", None)

    def git(self, *arguments, at="2026-01-01T00:00:00+00:00"):
        who = {
            f"GIT_{role}_{what}": value
            for role in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "a"), ("EMAIL", "a@b"), ("DATE", at))
        }
        done = subprocess.run(["git", "-C", str(self.root), *arguments], env=os.environ | who, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, **at):
        self.git("add", "-A", **at)
        self.git("commit", "-q", "-m", "Declare", **at)
        return self.git("rev-parse", "HEAD")

    def check(self, **more):
        [(name, recipe, experiment)] = experiments_of(self.name)
        return prepare(name, recipe, experiment, **more)


@pytest.fixture
def place(tmp_path, monkeypatch, request):
    name = f"known{abs(hash(request.node.name)) % 10**8}"
    root = tmp_path / "tree"
    root.mkdir()
    made = Place(root, name)
    made.git("init", "-q")
    monkeypatch.syspath_prepend(str(root / "src"))
    monkeypatch.setenv("TUTELAGE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache.sqlite"))
    monkeypatch.setenv("KNOWN_STUDENT", "known student")
    register(Script(name="known student", answer=lambda prompt, index, seed: "=> 1"))
    yield made
    sys.modules.pop(f"{name}.known", None)


def test_a_declared_experiment_becomes_a_record_and_a_page(place):
    commit = place.commit()
    done = reproduce(place.check(), jobs=1, command=f"tutelage reproduce {place.name}")
    assert done.problems == ()
    assert [j.verdict for j in done.judged] == ["confirmed", "refuted"]
    assert done.judged[0].control_verdict == "destroyed"
    path = write_record(done, place.docs / "records")
    record = orjson.loads(path.read_bytes())
    assert record["declared"]["commit"] == commit
    assert record["declared"]["date"].startswith("2026-01-01 00:00:00")
    assert record["seeds"] == [0, 1, 2]
    assert record["values"]["note:size"]["small"] == pytest.approx({"0": 0.001, "1": 0.003, "2": 0.005})
    assert record["experiment"]["student"] == "scripted:$KNOWN_STUDENT", "no name of this machine"
    assert record["code"]["digest"].startswith("b2-")
    assert set(record["packages"]) >= {"torch", "tutelage"}

    page = write_claims(place.docs / "records", place.docs / "claims.md").read_text()
    assert "Experiments: 1. Claims: 2; 1 confirmed, 1 refuted." in page
    assert commit[:10] in page
    assert f"tutelage reproduce {place.name}" in page
    assert "destroys the effect" in page
    assert "+0.4" in page

    again = reproduce(place.check(), jobs=1, command="other words")
    assert (again.outcome.calls, again.outcome.fits) == (0, 0)
    write_record(again, place.docs / "records")
    assert orjson.loads(path.read_bytes()) == record, "judging the same run again changes nothing"


@pytest.mark.parametrize("commit_first", [False, True])
def test_what_is_not_committed_as_it_is_run_is_undeclared(place, commit_first):
    if commit_first:
        place.commit()
        place.write(RECIPE.replace("gain=0.5", "gain=0.6"))
    done = reproduce(place.check(), jobs=1)
    assert any("undeclared: the declaration in src/" in problem for problem in done.problems)
    with pytest.raises(SettingsError, match="is no record"):
        write_record(done, place.docs / "records")
    assert not (place.docs / "records").exists()


def test_a_run_before_its_declaration_is_no_record(place):
    done = reproduce(place.check(), jobs=1)
    place.commit(at="2099-01-01T00:00:00+00:00")
    again = reproduce(place.check(), jobs=1)
    assert done.outcome.folder == again.outcome.folder
    assert any("before its declaration was committed 2099" in problem for problem in again.problems)


def test_the_oldest_commit_since_which_it_stands_is_named(place):
    first = place.commit()
    place.write(RECIPE.replace('title="Known numbers"', 'title="Other words"').replace("1. Note a number.", "1. Note the number."))
    place.commit()
    assert declared(load_recipe(place.name)).commit == first
    place.write(RECIPE.replace("gain=0.5", "gain=0.4"))
    changed = place.commit()
    assert declared(load_recipe(place.name)).commit == changed
    place.write(RECIPE)
    back = place.commit()
    assert declared(load_recipe(place.name)).commit == back, "what was changed in between was declared anew"


def test_the_seal_covers_what_bears_on_the_result():
    seal = seal_of(RECIPE)
    assert seal_of(RECIPE.replace("    ", "\t\t")) == seal
    assert seal_of(RECIPE.replace('"""Of the arm; ours."""', '"""Other words."""')) == seal
    for old, new in (
        ("seeds=3", "seeds=4"),
        ("gain=0.5", "gain=0.4"),
        ('"gain": 0.01', '"gain": 0.02'),
        ("gain: float = 0.0", "gain: float = 1.0"),
    ):
        assert seal_of(RECIPE.replace(old, new)) != seal, old
    assert seal_of(RECIPE.replace("REPRODUCE", "OTHER")) is None
    assert seal_of("def broken(") is None


def test_tuning_takes_other_seeds_and_leaves_no_record(place):
    place.commit()
    check = place.check(tune=True, seeds=2)
    assert check.request.seeds == (100, 101)
    done = reproduce(check, jobs=1)
    assert any(problem.startswith("tuning") for problem in done.problems)
    with pytest.raises(SettingsError, match="is no record"):
        write_record(done, place.docs / "records")


def test_other_seeds_than_declared_are_a_look_and_no_record(place):
    place.commit()
    done = reproduce(place.check(seeds=2), jobs=1)
    assert "3 seeds were declared, 2 were run" in done.problems
    assert done.judged[0].verdict == "confirmed"


def test_a_second_look_takes_the_seeds_that_it_declares(place):
    place.write(RECIPE.replace("seeds=3,", "seeds=4, first_seed=5,"))
    place.commit()
    done = reproduce(place.check(), jobs=1)
    assert done.problems == ()
    record = orjson.loads(write_record(done, place.docs / "records").read_bytes())
    assert record["seeds"] == [5, 6, 7, 8]
    check = place.check()
    assert "Seeds 5 to 8" in declaration_page(check.name, check.recipe.name, check.experiment, seal="b2-x")
    assert place.check(tune=True).request.seeds == (100, 101, 102, 103)
    with pytest.raises(SettingsError, match="reach into those for tuning"):
        place.check(seeds=96)


def test_declared_anew_the_old_verdicts_stay(place):
    place.commit()
    write_record(reproduce(place.check(), jobs=1), place.docs / "records")
    place.write(RECIPE.replace("gain=0.5", "gain=0.0005"))
    place.commit()
    path = write_record(reproduce(place.check(), jobs=1), place.docs / "records")
    record = orjson.loads(path.read_bytes())
    assert [v["verdict"] for v in record["earlier"][0]["verdicts"]] == ["confirmed", "refuted"]
    assert record["contrasts"][0]["verdict"] != "confirmed"
    assert "Earlier, declared in" in claims_page(read_records(path.parent))


def test_a_verdict_written_by_hand_is_refused(place):
    place.commit()
    path = write_record(reproduce(place.check(), jobs=1), place.docs / "records")
    record = orjson.loads(path.read_bytes())
    record["contrasts"][1]["verdict"] = "confirmed"
    path.write_bytes(orjson.dumps(record))
    with pytest.raises(DataError, match="does not follow from its values"):
        read_records(path.parent)
    path.write_bytes(b"{")
    with pytest.raises(DataError, match="cannot be read"):
        read_records(path.parent)


def test_a_declaration_can_be_read(place):
    place.commit()
    check = place.check()
    page = declaration_page(check.name, check.recipe.name, check.experiment, seal="b2-x")
    for text in ("Large is larger.", "Seeds 0 to 2", "note:size", "Control dealt minus small", "corrected by Holm", "b2-x"):
        assert text in page


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('better="large"', 'better="lrge"'), "names an arm"),
        (("$KNOWN_STUDENT", "$NO_SUCH_VARIABLE"), "needs the environment variable NO_SUCH_VARIABLE"),
        (("REPRODUCE = ", "OTHER = "), "declares no experiment"),
        (('task="folds/msum"', 'task="folds/nothing"'), "no task"),
    ],
)
def test_an_experiment_that_cannot_be_run_is_refused(place, change, said):
    place.write(RECIPE.replace(*change))
    with pytest.raises(SettingsError, match=said):
        place.check()


def test_several_experiments_have_names(place):
    named = RECIPE.replace("REPRODUCE = Experiment(", 'REPRODUCE = {"one": Experiment(').replace(
        '    shrunk="To nothing.",\n)', '    shrunk="x",\n)}'
    )
    place.write(named)
    assert [name for name, *_ in experiments_of(place.name)] == [f"{place.name}-one"]
    assert [name for name, *_ in experiments_of(f"{place.name}:one")] == [f"{place.name}-one"]
    with pytest.raises(SettingsError, match="no such experiment"):
        experiments_of(f"{place.name}:two")
