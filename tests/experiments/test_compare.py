"""A whole comparison with a scripted teacher: equal budgets to the call, paired rows, replay for nothing, and what is refused before it
costs anything."""

import re
import zlib
from html import escape

import orjson
import pytest

from tutelage.backends.scripted import Script, register
from tutelage.errors import BudgetExhausted, SettingsError
from tutelage.experiments.compare import parse_entry, plan_comparison, run_comparison
from tutelage.report.read import read_run

GIVEN = {
    "task": "folds/msum",
    "student": "bundled:student",
    "preset": "toy",
    "task_options": {"test_size": 6, "train_size": 8},
    "seeds": (0, 1),
}


def teacher(name, right=True):
    """Writes solutions in the bundled world's way: the right ones; or only the first draw is right, and that for half of the questions."""
    from tutelage.records import Problem
    from tutelage.tasks import folds

    def answer(prompt, index, seed):
        question = re.search(r"Q : (.+?)\n", prompt.text + "\n").group(1)
        known = right or (index == 0 and zlib.crc32(question.encode()) % 2)
        found = folds.solve(Problem(text=question, skill="msum")) if known else "nothing"
        return f"w{index} {seed} => {found}"

    return register(Script(name=name, answer=answer, dialect="folds"))


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTELAGE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache.sqlite"))


def planned(*recipes, **more):
    return plan_comparison(recipes, **(GIVEN | {"budget": "calls=8", "teacher": "scripted:good"} | more))


def test_a_comparison_keeps_to_its_budget_and_is_continued_for_nothing(tmp_path):
    script = teacher("good")
    plan = planned("sft", "verified-sampling", "untouched", command="tutelage compare sft ...")
    assert {name: dict(s.sizes) for name, s in plan.sized.items()} == {
        "sft": {"examples": 8},
        "verified-sampling": {"examples": 2},
        "untouched": {},
    }
    assert script.calls["generate"] == 0
    seen = set()
    done = run_comparison(plan, jobs=1, watch=lambda seed, name, step, *_: seen.add((seed, name)))
    assert seen >= {(seed, name) for seed in (0, 1) for name in plan.sized}
    assert done.errors == {}
    rows = {row["name"]: row for row in done.board["rows"]}
    assert {name: row["teacher"]["calls"]["mean"] for name, row in rows.items()} == {"sft": 8, "verified-sampling": 8, "untouched": 0}
    assert all(row["share"]["calls"] in (0, 1) and set(row["values"]) == {0, 1} for row in rows.values())
    # Greedy answers are shared between seeds, so the script is asked no more than the journal says.
    assert script.calls["generate"] <= 2 * (8 + 8)
    means = [row["score"]["value"] for row in done.board["rows"]]
    assert means == sorted(means, reverse=True)
    best, *rest = done.board["rows"]
    assert best["to_best"] is None
    for row in rest:
        gaps = [row["values"][seed] - best["values"][seed] for seed in (0, 1)]
        assert row["to_best"]["value"] == pytest.approx(sum(gaps) / 2)
    for row in rows.values():
        assert read_run(row["folder"]).recipe == row["name"]

    asked = script.calls["generate"]
    again = run_comparison(planned("sft", "verified-sampling", "untouched", command="tutelage compare sft ..."), jobs=1)
    assert (again.calls, again.fits, script.calls["generate"]) == (0, 0, asked)
    assert again.folder == done.folder
    assert again.board == done.board

    held = orjson.loads((done.folder / "leaderboard.json").read_bytes())
    assert [row["name"] for row in held["rows"]] == [row["name"] for row in done.board["rows"]]
    html, markdown = ((done.folder / f"leaderboard.{kind}").read_text() for kind in ("html", "md"))
    for text in ("verified-sampling", "examples=2", "tutelage compare sft ...", done.board["said"]):
        assert escape(text) in html
        assert text.replace("_", "\\_") in markdown.replace("\\-", "-")
    # Another comparison shares what is finished.
    with_arm = run_comparison(planned("sft", "sft:answers_only"), jobs=1)
    assert {row["name"] for row in with_arm.board["rows"]} == {"sft", "sft:answers_only"}
    assert with_arm.fits == 2
    assert script.calls["generate"] == asked


def test_a_plan_that_was_too_hopeful_cannot_overspend():
    script = teacher("poor", right=False)
    given = {"teacher": "scripted:poor", "budget": "calls=32", "metric": "accuracy, 0-shot"}
    kept = run_comparison(planned("verified-sampling", "untouched", **given), jobs=1, resize=False)
    assert kept.errors
    assert all(isinstance(error, BudgetExhausted) for error in kept.errors.values())
    assert script.calls["generate"] <= 2 * 32
    row = next(r for r in kept.board["rows"] if r["name"] == "verified-sampling")
    assert any("--yield verified-sampling=" in said for said in row["remarks"])
    assert row["score"]["value"] is None, "not ranked by the seeds that happened to fit"

    again = run_comparison(planned("verified-sampling", "untouched", **given), jobs=1)
    row = next(r for r in again.board["rows"] if r["name"] == "verified-sampling")
    assert any("its plan was too hopeful: at examples=8 it met the cap" in said for said in row["remarks"])
    assert row["sizes"]["examples"] < 8
    assert again.errors == {}
    assert 0 < row["teacher"]["calls"]["most"] <= 32


def test_what_does_not_fit_is_reported_and_not_run():
    teacher("good")
    plan = planned("sft", "verified-sampling", budget="calls=7")
    assert list(plan.running) == ["sft"]
    assert "at its smallest (examples=2) it needs about 8 calls" in plan.comparison.left_out["verified-sampling"]
    with pytest.raises(SettingsError, match="too small for every one"):
        planned("verified-sampling", "sft", budget="calls=1")


def test_unlike_measurements_are_refused_before_anything_is_asked():
    script = teacher("good")
    with pytest.raises(SettingsError, match="differently") as refused:
        planned("sft", "verified-sampling", overrides={"sft.rationale_tokens": 40})
    assert "rationale_tokens (sft 40, verified-sampling 48)" in str(refused.value)
    with pytest.raises(SettingsError, match="nothing in common"):
        planned("sft", "untouched", overrides={"sft.shots": [0], "untouched.shots": [1]})
    with pytest.raises(SettingsError, match="not every recipe measures"):
        planned("sft", "untouched", metric="macro F1")
    assert script.calls["generate"] == 0
    same = planned("sft", "untouched", overrides={"*.rationale_tokens": 40})
    assert all(s.request.settings.rationale_tokens == 40 for s in same.sized.values())


@pytest.mark.parametrize(
    ("recipes", "more", "said"),
    [
        (("sft", "artee"), {}, "unknown recipe"),
        (("sft", "sft:sfft"), {}, "no such arm"),
        (("sft",), {}, "at least two"),
        (("sft", "sft:sft"), {}, "named twice"),
        (("sft", "untouched"), {"budget": "8"}, "has no value"),
        (("sft", "untouched"), {"budget": None}, "needs a budget"),
        (("sft", "untouched"), {"overrides": {"examples": 3}}, "names its recipe first"),
        (("sft", "untouched"), {"overrides": {"arte.probes": 3}}, "names its recipe first"),
        (("sft", "untouched"), {"yields": {"arte": 0.5}}, "not compared"),
        (("sft", "untouched"), {"yields": {"sft": 0}}, "share of replies"),
        (("sft", "untouched"), {"teacher": None}, "needs a teacher"),
        (("sft", "arte"), {}, "needs 'train' from its teacher"),
        (("sft", "untouched"), {"task": "nothing"}, "task"),
    ],
)
def test_what_cannot_be_compared_is_refused(recipes, more, said):
    teacher("good")
    with pytest.raises(SettingsError.__base__, match=said):
        planned(*recipes, **more)


def test_a_task_that_a_recipe_cannot_use_is_refused_with_the_recipe_named(tmp_path):
    rows = [{"question": f"What is {i} plus {i}?", "answer": str(2 * i)} for i in range(40)]
    file = tmp_path / "sums.jsonl"
    file.write_bytes(b"".join(orjson.dumps(r) + b"\n" for r in rows))
    options = {"validation_size": 0, "test_size": 4}
    given = {"task": f"file:{file}", "task_options": options, "teacher": "bundled:teacher", "budget": "calls=400"}
    with pytest.raises(SettingsError.__base__, match=r"(?i)arte on file|validation"):
        planned("arte", "sft", **given)


def test_an_entry_is_a_recipe_and_its_arm():
    assert parse_entry("arte").name == "arte"
    assert parse_entry("arte:arte").name == "arte"
    assert parse_entry("arte:in_context").name == "arte:in_context"
    assert parse_entry("verified-sampling").arm == "verified_sampling"
