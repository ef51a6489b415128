"""The page on writing a recipe is executed as it stands: its file, in a package outside of this one, found by its entry point."""

import os
import re
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

import forked

pytestmark = pytest.mark.xdist_group("own recipe")

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "own-recipe.md"


def block(language):
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"the page has one block of {language}"
    return found[0]


def commands():
    """The lines that the page tells to type."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [line.split() for language, body in fences if not language for line in body.splitlines() if line.startswith("tutelage ")]


@pytest.fixture(scope="module")
def tutelage(tmp_path_factory):
    """Types a command of the page in a folder of its own, with the page's package installed; returns what it printed."""
    root = tmp_path_factory.mktemp("own")
    site, work = root / "site", root / "work"
    (site / "yourpackage").mkdir(parents=True)
    (site / "yourpackage" / "__init__.py").touch()
    (site / "yourpackage" / "shortest.py").write_text(block("python"), encoding="utf-8")
    # What an installer makes of the page's pyproject.toml.
    declared = re.fullmatch(r'\[project\.entry-points\."([\w.]+)"\]\n(\w+) = "([\w.]+)"\n', block("toml"))
    assert declared is not None
    facts = site / "yourpackage-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: yourpackage\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[{}]\n{} = {}\n".format(*declared.groups()))
    work.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TUTELAGE_")}
    environment |= {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}

    def typed(*arguments):
        done = forked.run("-m", "tutelage", *arguments, cwd=work, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return typed


def beside(tmp_path, names):
    """A package that names entry points: {recipe name: module}. Returns what `list` says of them, and a way to type."""
    facts = tmp_path / "stale-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: stale\nVersion: 1.0\n")
    lines = "".join(f"{name} = {module}\n" for name, module in names.items())
    (facts / "entry_points.txt").write_text(f"[tutelage.recipes]\n{lines}")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TUTELAGE_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *([os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else [])])

    def typed(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "tutelage", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    return typed


def test_a_package_that_left_its_entry_point_behind_breaks_nothing_but_its_own_recipe(tmp_path):
    typed = beside(tmp_path, {"gone": "package_that_went.gone", "sft": "package_that_went.sft"})
    listed = typed("list")
    assert listed.returncode == 0, listed.stderr
    lines = {line.split()[0]: line for line in listed.stdout.splitlines()}
    assert "cannot be used: recipe 'gone' cannot be imported (No module named 'package_that_went')" in lines["gone"]
    assert "two recipes have one name" in lines["sft"]
    assert typed("show", "arte").returncode == 0
    shown = typed("show", "gone")
    assert shown.returncode == 2
    assert "package_that_went" in shown.stderr
    assert "uninstall it" in shown.stderr
    twice = typed("show", "sft")
    assert twice.returncode == 2
    assert "sft, also of package_that_went.sft" in twice.stderr


def test_the_page_says_what_to_type():
    assert [words[1] for words in commands()] == ["list", "run"]


def test_the_recipe_is_listed_and_shown_beside_the_others(tutelage):
    listed, _ = commands()
    lines = dict(line.split(maxsplit=1) for line in tutelage(*listed[1:]).splitlines())
    assert lines["shortest"] == "Of several right rationales, the shortest teaches best."
    assert "arte" in lines
    shown = tutelage("show", "shortest")
    assert "k, rationales per question; ours." in shown


def test_the_recipe_runs_and_runs_again_for_nothing(tutelage):
    _, ran = commands()
    first = orjson.loads(tutelage(*ran[1:], "--json"))
    assert first["refused"] == {}
    assert first["calls"] > 0
    assert first["fits"] == 2
    assert {arm["name"] for arm in first["arms"]} == {"shortest", "longest"}
    again = orjson.loads(tutelage(*ran[1:], "--json"))
    assert (again["calls"], again["fits"]) == (0, 0)
    assert again["arms"] == first["arms"]
    assert again["folder"] == first["folder"]
