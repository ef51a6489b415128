"""What must not be loaded: listing, showing and planning are for machines and moments without an engine."""

import subprocess
import sys

import orjson
import pytest

HEAVY = ("torch", "transformers", "peft", "accelerate", "datasets", "tokenizers", "safetensors")
SCIENCE = ("numpy", "scipy", "pydantic", "pandas", "pyarrow", "jinja2", "aiohttp")

PROGRAM = """
import sys
sys.argv = ["tutelage", *{arguments!r}]
from tutelage.cli import main
code = main()
print(code, *sorted({{name.split(".")[0] for name in sys.modules}}), file=sys.stderr)
"""


def loaded_by(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr.strip().splitlines()[-1].split()


def after(*arguments):
    out, (code, *modules) = loaded_by(PROGRAM.format(arguments=list(arguments)))
    assert code == "0", out
    assert out
    return set(modules)


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["list", "--json"], ["show", "arte"], ["show", "arte", "--json"], ["show", "sft"], ["--help"], ["run", "--help"]],
    ids=" ".join,
)
def test_listing_and_showing_load_no_engine_and_no_science(arguments):
    assert after(*arguments) & {*HEAVY, *SCIENCE} == set()


def test_planning_loads_no_engine():
    modules = after(
        "plan", "arte", "--task", "folds/msum", "--teacher", "bundled:teacher", "--student", "bundled:student", "--toy", "--arm", "arte"
    )
    # Names are resolved by digesting files and settings are read by pydantic; item response needs numpy. Torch and transformers stay out.
    assert modules & {"torch", "transformers", "peft", "accelerate", "datasets"} == set()


def test_the_doctor_loads_no_engine():
    assert after("doctor") & {"torch", "transformers", "peft", "accelerate"} == set()


PACKAGES = (
    "tutelage",
    "tutelage.backends",
    "tutelage.bundled",
    "tutelage.capabilities",
    "tutelage.cli",
    "tutelage.evaluate",
    "tutelage.experiments",
    "tutelage.experiments.request",
    "tutelage.experiments.run",
    "tutelage.experiments.plan",
    "tutelage.generate",
    "tutelage.journal",
    "tutelage.lab",
    "tutelage.measure",
    "tutelage.objectives",
    "tutelage.prompts",
    "tutelage.recipes",
    "tutelage.recipes.arte",
    "tutelage.report",
    "tutelage.select",
    "tutelage.signals",
    "tutelage.steps",
    "tutelage.tasks",
    "tutelage.train",
    "tutelage.verify",
)


def test_importing_the_public_packages_loads_no_engine():
    program = f"import {', '.join(PACKAGES)}\nimport sys\nprint(0, *sorted({{n.split('.')[0] for n in sys.modules}}), file=sys.stderr)"
    _, (_, *modules) = loaded_by(program)
    assert "tutelage" in modules
    assert set(modules) & set(HEAVY) == set()


def test_importing_the_package_alone_loads_next_to_nothing():
    program = "import sys\nbefore = set(sys.modules)\nimport tutelage\nprint(0, *(set(sys.modules) - before), file=sys.stderr)"
    _, (_, *modules) = loaded_by(program)
    assert {m.split(".")[0] for m in modules} & {*HEAVY, *SCIENCE, "typer", "rich", "orjson"} == set()


def test_every_recipe_is_listed_with_its_claim():
    done = subprocess.run([sys.executable, "-m", "tutelage", "list", "--json"], capture_output=True, check=True)
    rows = orjson.loads(done.stdout)
    assert {"arte", "sft", "untouched", "verified-sampling"} <= {row["name"] for row in rows}
    assert all(row["claim"] and row["title"] and row["kind"] in ("system", "baseline") for row in rows)
