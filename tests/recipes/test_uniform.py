"""Every recipe, baseline or system, is held to the same rules. One set of toy runs serves all tests of this file."""

import ast
import inspect
import re
import shutil
import sys
from dataclasses import asdict, fields, is_dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path

import orjson
import pytest
from pydantic import TypeAdapter

import tutelage
from tutelage.capabilities import CAPABILITIES
from tutelage.cli.show import card_as_dict, card_as_text, field_docs
from tutelage.experiments.plan import plan_request
from tutelage.experiments.request import resolve_request
from tutelage.experiments.run import run_request
from tutelage.journal.folder import ArmJournal
from tutelage.recipes import PARTS, load_recipe, recipe_names
from tutelage.records import Problem, Scorecard, Solution

pytestmark = pytest.mark.xdist_group("recipes")

RECIPES = [load_recipe(name) for name in recipe_names()]
SYSTEMS = [r for r in RECIPES if r.card.kind == "system"]
ARMS = [(r, arm) for r in RECIPES for arm in r.arms]
each = pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
each_arm = pytest.mark.parametrize(("recipe", "arm"), ARMS, ids=lambda x: x if isinstance(x, str) else x.name)

GIVEN = {
    "task": "folds/msum",
    "teacher": "bundled:teacher",
    "student": "bundled:student",
    "preset": "toy",
    "task_options": {"test_size": 10},
}
LONGEST = 400
"""Lines of any file, a recipe of thirteen arms included; most recipes stay under 100."""


def test_the_suite_found_all_recipes():
    folder = Path(inspect.getfile(load_recipe)).parent
    files = {p.stem.replace("_", "-") for p in folder.glob("*.py")} - {"--init--"}
    assert {r.name for r in RECIPES} >= files
    assert len(RECIPES) == 20, "a recipe came or went: change this number"
    assert len(SYSTEMS) == 17
    assert len(ARMS) == 214


def source_of(recipe):
    return Path(inspect.getfile(recipe.run)).read_text()


# -- shape ---------------------------------------------------------------------------------------------------------------------


@each
def test_the_parts_stand_in_their_order_and_the_file_is_short(recipe):
    source = source_of(recipe)
    tree = ast.parse(source)
    named = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            named.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            named.append(getattr(target, "id", ""))
    assert [n for n in named if n in PARTS] == list(PARTS)
    assert len(source.splitlines()) <= LONGEST


@each
def test_the_docstring_tells_the_algorithm_in_numbered_steps(recipe):
    numbers = [int(n) for n in re.findall(r"^ {0,2}(\d+)\. \S", recipe.doc, flags=re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers, "no numbered line"
    first = recipe.doc.strip().splitlines()[0]
    assert ":" in first
    assert len(first) < 140


@each
def test_the_source_is_named_where_there_is_one(recipe):
    card = recipe.card
    assert card.kind in ("system", "baseline")
    assert card.claim.endswith(".")
    assert card.version >= 1
    if card.kind == "system":
        assert re.search(r"\b(19|20)\d\d\b", card.source), "author and year"
        assert card.claims, "a system has a published number to stand beside ours"
    if card.source:
        identifier = card.source.split()[-1]
        assert identifier in recipe.doc, "the docstring cites what the card names"


@each
def test_every_setting_says_what_it_is_and_where_it_is_from(recipe):
    assert is_dataclass(recipe.settings)
    assert recipe.settings.__dataclass_params__.frozen
    docs = field_docs(recipe.settings)
    undocumented = [f.name for f in fields(recipe.settings) if not docs.get(f.name)]
    assert undocumented == []
    recipe.settings()  # every field has a default: the paper's


@each
def test_presets_and_arms_change_fields_that_there_are_to_values_that_they_take(recipe):
    names = {f.name for f in fields(recipe.settings)}
    read = TypeAdapter(recipe.settings)
    presets = {"paper": {}, "laptop": recipe.laptop, "toy": recipe.toy}
    for preset, changes in presets.items():
        assert set(changes) <= names, preset
        held = replace(recipe.settings(), **changes)
        for name, arm in recipe.arms.items():
            assert set(arm.changes) <= names, name
            changed = replace(held, **arm.changes)
            assert read.validate_python(asdict(changed)) == changed, name


@each
def test_arms_are_described_and_the_card_names_those_that_there_are(recipe):
    card = recipe.card
    assert {card.arm, card.baseline, *card.demo_arms, *([card.control] if card.control else [])} <= set(recipe.arms)
    assert recipe.arms[card.arm].changes == {}, "the system itself is the settings as they stand"
    for claim in card.claims:
        assert claim.arms is None or set(claim.arms) <= set(recipe.arms)
    for name, arm in recipe.arms.items():
        assert arm.summary, name
        assert arm.changes or name == card.arm, f"{name} changes nothing"
        assert arm.control == (name == card.control), name
    if card.size:
        assert card.size in {f.name for f in fields(recipe.settings)}


@pytest.mark.parametrize("recipe", SYSTEMS, ids=lambda r: r.name)
def test_a_system_has_a_control_that_should_destroy_its_effect(recipe):
    assert recipe.card.control is not None
    assert recipe.arms[recipe.card.control].control
    assert recipe.card.control in recipe.card.demo_arms


@each
def test_needs_are_words_that_there_are(recipe):
    for needs in (recipe.card.needs, *(arm.needs for arm in recipe.arms.values() if arm.needs is not None)):
        assert needs
        for role, capabilities in needs.items():
            assert role in ("teacher", "student", "judge", "reference")
            assert set(capabilities) <= set(CAPABILITIES)


@each
def test_a_recipe_imports_no_engine_and_holds_no_resume_code(recipe):
    imported = set()
    for node in ast.walk(ast.parse(source_of(recipe))):
        if isinstance(node, ast.Import):
            imported |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    forbidden = (
        "torch",
        "transformers",
        "tutelage.backends",
        "tutelage.engine",
        "tutelage.journal",
        "tutelage.experiments",
        "tutelage.cli",
    )
    assert not [name for name in imported if name.startswith(forbidden)]
    assert "resume" not in inspect.getsource(recipe.run)


@each
def test_a_recipe_can_be_shown(recipe):
    text = card_as_text(recipe)
    assert recipe.card.title in text
    assert all(arm.summary in text for arm in recipe.arms.values())
    assert all(f"  {f.name} = " in text for f in fields(recipe.settings))
    orjson.dumps(card_as_dict(recipe), option=orjson.OPT_NON_STR_KEYS)


# -- toy runs ------------------------------------------------------------------------------------------------------------------


@cache
def toy(name):
    """All arms of a recipe, run once."""
    return tutelage.run(name, arms=["all"], **GIVEN)


def journal(recipe, arm):
    return ArmJournal(toy(recipe.name).folder / "seeds" / "0" / arm)


@each_arm
def test_every_arm_comes_to_its_end_and_is_measured(recipe, arm):
    outcome = toy(recipe.name)
    assert outcome.refused == {}
    events = journal(recipe, arm).events()
    assert events[0]["event"] == "start"
    assert events[-1]["event"] == "done"
    cards = [c for c in outcome.scorecards if c.arm == arm]
    shots = replace(recipe.settings(), **{**recipe.toy, **recipe.arms[arm].changes}).shots
    assert [c.shots for c in cards] == list(shots)
    for card in cards:
        assert isinstance(card, Scorecard)
        assert card.n == 10
        assert 0 <= card.value <= 1
        assert 0 < card.parsed <= 1, "the bundled student answers in the form it is asked in"


@each_arm
def test_every_yield_adds_up(recipe, arm):
    for event in journal(recipe, arm).events():
        if event["event"] == "yield":
            # What could be read was kept, or was dropped for a reason that is counted. (A writer may send more than it was asked for.)
            told = event["kept"] + sum(event["dropped"].values())
            assert event["parsed"] <= told <= max(event["asked"], event["parsed"]), event
            assert all(count > 0 for count in event["dropped"].values()), event


@each
def test_the_main_arm_keeps_what_the_card_says_in_its_order(recipe):
    kept = [e["name"] for e in journal(recipe, recipe.card.arm).events() if e["event"] == "keep"]
    assert kept[-1] == "scorecards"
    assert tuple(kept[:-1]) == recipe.card.steps


@each_arm
def test_every_kept_record_can_be_read_and_names_where_it_came_from(recipe, arm):
    held = journal(recipe, arm)
    for event in held.events():
        if event["event"] == "keep":
            records = held.records(event["name"])
            assert len(records) == event["count"]
            assert {type(r).__name__ for r in records} <= {event["type"]}
            assert all(r.origin is not None for r in records), event["name"]


@each_arm
def test_a_taught_student_is_another_than_the_untouched_one(recipe, arm):
    outcome = toy(recipe.name)
    fits = [e for e in journal(recipe, arm).events() if e["event"] == "fit" and e["role"] == "student"]
    untouched = {c.model for c in outcome.scorecards if c.arm == "untouched"}
    mine = {c.model for c in outcome.scorecards if c.arm == arm}
    if fits:
        assert fits[-1]["ref"] in mine
        assert not mine & untouched
    else:
        assert mine == untouched


@each
def test_the_outcome_hands_over_the_student_and_what_it_was_taught(recipe):
    outcome = toy(recipe.name)
    main = {c.model for c in outcome.scorecards if c.arm == recipe.card.arm}
    if "train" in recipe.card.needs["student"]:
        assert outcome.student is not None
        assert {outcome.student.id} == main
        assert outcome.dataset == journal(recipe, recipe.card.arm).records("examples")
        assert outcome.dataset
        assert (Path(outcome.student.path or "") / "model.safetensors").exists()
    else:
        assert (outcome.student, outcome.dataset) == (None, [])


@pytest.mark.parametrize("recipe", SYSTEMS, ids=lambda r: r.name)
def test_the_control_of_a_system_takes_another_course(recipe):
    courses = []
    for arm in (recipe.card.arm, recipe.card.control):
        held = journal(recipe, arm)
        courses.append({e["name"]: [r.id for r in held.records(e["name"])] for e in held.events() if e["event"] == "keep"})
    assert list(courses[0]) == list(courses[1]), "the same steps"
    assert courses[0] != courses[1]


@each
def test_a_second_run_in_the_same_folder_asks_and_trains_nothing(recipe):
    first = toy(recipe.name)
    events = {arm: (journal(recipe, arm).folder / "events.jsonl").read_bytes() for arm in recipe.arms}
    again = tutelage.run(recipe.name, arms=["all"], **GIVEN)
    assert (again.calls, again.fits) == (0, 0)
    assert again.scorecards == first.scorecards
    assert again.folder == first.folder
    assert events == {arm: (journal(recipe, arm).folder / "events.jsonl").read_bytes() for arm in recipe.arms}


@each
def test_a_run_whose_folder_is_gone_is_replayed_from_the_cache_to_the_last_bit(recipe, tmp_path):
    first = toy(recipe.name)
    aside = tmp_path / "aside"
    shutil.move(first.folder, aside)
    try:
        again = tutelage.run(recipe.name, arms=["all"], **GIVEN)
        assert again.calls == 0, "every answer was kept"
        assert again.scored == first.scored
        assert again.fits == len(list((aside / "fits").glob("*/fit.json")))
        assert again.scorecards == first.scorecards
        assert [c.id for c in again.scorecards] == [c.id for c in first.scorecards]
        assert again.student == first.student
        for arm in recipe.arms:
            for event in journal(recipe, arm).events():
                if event["event"] == "keep":
                    file = Path("seeds", "0", arm, "records", f"{event['name']}.jsonl")
                    assert (first.folder / file).read_bytes() == (aside / file).read_bytes()
    finally:
        if aside.exists():
            shutil.rmtree(first.folder, ignore_errors=True)
            shutil.move(aside, first.folder)


@each
def test_an_arm_that_is_replayed_behind_its_fits_tells_the_same_costs(recipe):
    """As after a kill behind the last fit: what was asked in the course of a fit is counted all the same."""
    held = journal(recipe, recipe.card.arm)
    before = [e for e in held.events() if e["event"] == "cost"]
    file = held.folder / "events.jsonl"
    file.write_bytes(b"".join(line for line in file.read_bytes().splitlines(True) if b'"event":"done"' not in line))
    assert not held.done()
    again = tutelage.run(recipe.name, arms=["all"], **GIVEN)
    assert (again.calls, again.scored, again.fits) == (0, 0, 0)
    assert [e for e in held.events() if e["event"] == "cost"] == before


# -- leaks ---------------------------------------------------------------------------------------------------------------------


def questions_trained_on(records):
    """Texts of questions that stand in the prompt of a training example."""
    examples = [r for name, held in records.items() if name == "examples" for r in held]
    problems = {getattr(r, "problem", r) for held in records.values() for r in held if isinstance(r, Problem | Solution)}
    return sorted({p.text for p in problems if any(p.text in e.prompt.text for e in examples)})


def kept_records(held):
    return {e["name"]: held.records(e["name"]) for e in held.events() if e["event"] == "keep"}


@pytest.mark.parametrize("recipe", [r for r in RECIPES if "examples" in r.card.steps], ids=lambda r: r.name)
def test_no_question_of_the_test_split_is_trained_on(recipe, tmp_path):
    """Two questions that the toy run learned from become test questions: the same run must now leave them out and say so."""
    before = questions_trained_on(kept_records(journal(recipe, recipe.card.arm)))
    assert len(before) >= 2
    given = {k: v for k, v in GIVEN.items() if k != "preset"}
    request = resolve_request(recipe.name, arms=[recipe.card.arm], preset="toy", **given)
    # Neighbours in the alphabet may be made of one another, and what is made of a dropped question never comes up.
    chosen = (before[0], before[-1])
    leaked = tuple(Problem(text=f" {text.upper() if i else text} ", answer="1", skill="msum") for i, text in enumerate(chosen))
    request = replace(request, task=replace(request.task, test=(*request.task.test, *leaked)), test_limit=10)
    run_request(request, out=tmp_path / "run", jobs=1)
    held = ArmJournal(tmp_path / "run" / "seeds" / "0" / recipe.card.arm)
    after = questions_trained_on(kept_records(held))
    assert after
    assert not set(after) & set(chosen)
    dropped = [event["dropped"].get("leak: equal", 0) for event in held.events() if event["event"] == "yield"]
    assert sum(dropped) >= 2


# -- plans ---------------------------------------------------------------------------------------------------------------------


@cache
def planned(name, preset):
    given = {k: v for k, v in GIVEN.items() if k != "preset"}
    request = resolve_request(name, arms=["all"], preset=preset, **given)
    return plan_request(request)


MASKED = ("masked", "masked_groups")  # of a window of which the mask leaves nothing no teacher is asked


@each_arm
def test_every_arm_can_be_planned_and_the_toy_run_stays_within_its_plan(recipe, arm):
    rows = {row.role: row for row in planned(recipe.name, "toy").rows if row.arm == arm}
    assert "student" in rows
    costs = {e["role"]: e for e in journal(recipe, arm).events() if e["event"] == "cost"}
    for role, cost in costs.items():
        low, high = rows[role].calls
        # The bundled teacher sometimes needs another round of questions than a perfect writer, and fewer than a poor one.
        assert 0.5 * low <= cost["calls"] <= 2 * high, (role, cost["calls"], rows[role].calls)
        if arm not in MASKED:
            assert rows[role].scored == (cost["scored"], cost["scored"]), "what is read in training is known beforehand"
    fits = [e["role"] for e in journal(recipe, arm).events() if e["event"] == "fit"]
    assert {role: row.fits for role, row in rows.items() if row.fits} == {role: fits.count(role) for role in set(fits)}


@each
def test_planning_asks_and_trains_nothing_and_loads_no_engine(recipe):
    before = "torch" in sys.modules
    assert planned(recipe.name, "laptop").rows
    assert ("torch" in sys.modules) == before


def test_a_module_that_lacks_a_part_is_no_recipe():
    module = import_module("tutelage.card")
    assert [part for part in PARTS if not hasattr(module, part)] == list(PARTS)
