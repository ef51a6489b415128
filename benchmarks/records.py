"""Records of the experiments that programs of this folder ran, in the form in which `tutelage reproduce` keeps its own.

    python benchmarks/records.py notations --rows build/notations_experiment/rows.jsonl --code COMMIT
    tutelage reproduce --write-claims

Values are read from the rows that the program left, averaged over what the declaration averages over, and judged by the rule of every
record; nobody writes a verdict. The declaration is the page in docs/experiments, and its commit is the one that brought the page.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from tutelage.card import Contrast, Experiment
from tutelage.experiments.declaration import repository_of
from tutelage.experiments.reproduce import PACKAGES, package_version
from tutelage.experiments.verdicts import judge
from tutelage.journal.folder import write_whole

Rows = Sequence[Mapping[str, Any]]
Values = dict[str, dict[str, dict[int, float]]]
"""Metric -> arm -> unit -> value."""
ACCURACY = "accuracy, 0-shot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """An experiment that a program ran."""

    page: str
    """Name of its declaration in docs/experiments."""
    commands: tuple[str, ...]
    task: str
    teacher: str
    student: str
    contrasts: tuple[Contrast, ...]
    values: Callable[[Rows], Values]
    unit: str = "seed"
    """What an interval is over."""
    note: str = ""


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


# --- two notations ----------------------------------------------------------------------------------------------------------------

SIZES = (60, 120, 240, 960)
STUDENTS = ("steps-1", "before-1", "steps-2", "before-2")


def at(size: int) -> str:
    return ACCURACY if size == 120 else f"accuracy, 0-shot, {size} examples"


def notations(rows: Rows) -> Values:
    """Per seed the mean over the four students; a seed that lacks one of them is left out."""
    found: Values = {}
    for size in SIZES:
        taught = [r for r in rows if r["part"] == "teach" and r["examples"] == size]
        arms: dict[str, dict[tuple[int, str], float]] = {
            "matched": {(r["seed"], r["student"]): r["shots0"] for r in taught if r["aligned_to"] == r["student"]},
            "mismatched": {(r["seed"], r["student"]): r["shots0"] for r in taught if notation(r["aligned_to"]) != notation(r["student"])},
        }
        if size == 120:
            for arm, name in (("arte", "matched"), ("original_teacher", "unaligned"), ("shuffled", "shuffled"), ("untouched", "untouched")):
                arms.setdefault(name, {}).update(
                    {(r["seed"], r["student"]): r["shots0"] for r in rows if r["part"] == "align" and r["arm"] == arm and "shots0" in r}
                )
        found[at(size)] = {
            arm: {
                seed: mean([values[seed, s] for s in STUDENTS])
                for seed in sorted({k[0] for k in values})
                if all((seed, s) in values for s in STUDENTS)
            }
            for arm, values in arms.items()
        }
    return found


def notation(student: str) -> str:
    return student.partition("-")[0]


# --- fresh students ---------------------------------------------------------------------------------------------------------------


def lineages(rows: Rows) -> Values:
    """Per lineage the mean over its seeds."""
    arms = dict.fromkeys(r["arm"] for r in rows)
    numbers = sorted({int(r["lineage"]) for r in rows})
    return {
        ACCURACY: {
            arm: {n: mean([r["shots0"] for r in rows if r["arm"] == arm and int(r["lineage"]) == n]) for n in numbers} for arm in arms
        }
    }


# --- published questions ----------------------------------------------------------------------------------------------------------


def published(task: str) -> Callable[[Rows], Values]:
    """Free generation per seed; before teaching the best of free generation and both forced choices, the same under every seed."""

    def values(rows: Rows) -> Values:
        mine = [r for r in rows if r["part"] == "student" and r["task"] == task]
        best = max(max(r["answers"], r["forced"], r["forced_after_steps"]) for r in mine if r["arm"] == "before")
        taught = {
            arm: {r["seed"]: r["answers"] for r in mine if r["arm"] == arm}
            for arm in dict.fromkeys(r["arm"] for r in mine)
            if arm != "before"
        }
        return {"accuracy, free generation": {"before": {s: best for by in taught.values() for s in by}, **taught}}

    return values


def gain(task: str) -> Contrast:
    return Contrast(
        claim=f"Rationales of the teacher on generated questions teach the published {task}.", better="verified", worse="before",
        metric="accuracy, free generation",
    )  # fmt: skip


def against(better: str, worse: str, claim: str) -> Contrast:
    return Contrast(claim=claim, better=better, worse=worse, metric="accuracy, free generation", rule=False)


# --- ways of teaching, a classifier -----------------------------------------------------------------------------------------------


def ways(rows: Rows) -> Values:
    return {ACCURACY: {way: {r["seed"]: r["accuracy"] for r in rows if r["way"] == way} for way in dict.fromkeys(r["way"] for r in rows)}}


def classifiers(rows: Rows) -> Values:
    arms = dict.fromkeys(r["arm"] for r in rows if r["arm"] != "teacher")
    return {"accuracy": {arm: {r["seed"]: r["value"] for r in rows if r["arm"] == arm} for arm in arms}}


# ----------------------------------------------------------------------------------------------------------------------------------

WEB, TRACKING = "web_of_lies", "tracking_shuffled_objects_three_objects"
REAL = "python benchmarks/real_questions.py students --real"
PROGRAMS = {
    "notations": Program(
        page="notations", task="folds/*", teacher="a teacher of both notations", student="four students, two of each notation",
        commands=("python benchmarks/notations.py align|cross|curve",), values=notations, note="Per seed the mean over the four students.",
        contrasts=(
            Contrast(claim="A teacher aligned to this student teaches it more than one aligned to a student of another notation.",
                     better="matched", worse="mismatched"),
            Contrast(claim="It teaches more than the unaligned teacher.", better="matched", worse="unaligned", control="shuffled",
                     rule=False),
            Contrast(claim="A teacher aligned to the wrong student teaches more than the unaligned one.", better="mismatched",
                     worse="unaligned", rule=False),
            Contrast(claim="The main contrast at 60 examples.", better="matched", worse="mismatched", metric=at(60), rule=False),
            Contrast(claim="At 240.", better="matched", worse="mismatched", metric=at(240), rule=False),
            Contrast(claim="At 960.", better="matched", worse="mismatched", metric=at(960), rule=False),
        ),
    ),
    "lineages": Program(
        page="lineages", task="folds/*", teacher="bundled:teacher", student="three fresh lineages", unit="lineage", values=lineages,
        commands=("python benchmarks/lineages.py run --seeds 0 1",), note="Per lineage the mean over seeds 0 and 1.",
        contrasts=(
            Contrast(claim="ARTE beats the unaligned teacher on students raised anew.", better="arte", worse="original_teacher",
                     control="shuffled"),
            Contrast(claim="Aligned questions alone do.", better="question_only", worse="original_teacher", rule=False),
            Contrast(claim="ARTE beats verified sampling.", better="arte", worse="verified_sampling", rule=False),
        ),
    ),
    "web-of-lies": Program(
        page="real-questions", task="bbh/web_of_lies", teacher="bundled:bbh-teacher", student="bundled:bbh-student", commands=(REAL,),
        values=published(WEB),
        contrasts=(
            gain(WEB), against("verified", "unverified", "Checking the rationales matters."),
            against("verified", "answers_only", "Rationales teach more than bare answers."),
            against("verified", "scratch", "The student's upbringing matters."),
        ),
    ),
    "tracking": Program(
        page="real-questions", task=f"bbh/{TRACKING}", teacher="bundled:bbh-teacher", student="bundled:bbh-student", commands=(REAL,),
        values=published(TRACKING),
        contrasts=(
            gain(TRACKING), against("verified", "unverified", "Checking the rationales matters."),
            against("verified", "answers_only", "Rationales teach more than bare answers."),
            against("verified", "scratch", "The student's upbringing matters."),
        ),
    ),
    "tracking-longer": Program(
        page="real-questions", task=f"bbh/{TRACKING}", teacher="bundled:bbh-teacher", student="bundled:bbh-student",
        commands=(f"{REAL} --tasks {TRACKING} --arms verified --seeds 3 4 5 --epochs 20",), values=published(TRACKING),
        contrasts=(gain(TRACKING),),
        note="The declared follow-up: 20 epochs instead of 12.",
    ),
    "tracking-gentler": Program(
        page="real-questions", task=f"bbh/{TRACKING}", teacher="bundled:bbh-teacher", student="bundled:bbh-student",
        commands=(f"{REAL} --tasks {TRACKING} --arms verified --seeds 6 7 8 --epochs 20 --lr 2e-3",),
        values=published(TRACKING), contrasts=(gain(TRACKING),), note="The second declared follow-up: 20 epochs at half the learning rate.",
    ),
    "ways-of-teaching": Program(
        page="ways-of-teaching", task="folds/*", teacher="bundled:teacher", student="bundled:student", values=ways,
        commands=("python benchmarks/ways_of_teaching.py run --seeds 0 1 2",),
        contrasts=(
            *(Contrast(claim=f"{way} improves the partly skilled student.", better=way, worse="untouched")
              for way in ("sft", "sequence_kd", "forward_kl_kd", "on_policy_kd", "dpo", "grpo")),
            Contrast(claim="On-policy reverse KL under the unaligned teacher does.", better="on_policy_kd_unaligned", worse="untouched",
                     rule=False),
        ),
    ),
    "clinc-students": Program(
        page="clinc-students", task="clinc150", teacher="softmax regression on encoder:minilm",
        student="first two layers of encoder:minilm",
        commands=("python benchmarks/clinc_students.py --seeds 0 1 2",), values=classifiers,
        contrasts=(
            Contrast(claim="1,800 labels of a larger classifier teach more than 300 published ones.", better="taught", worse="gold",
                     metric="accuracy"),
        ),
    ),
}  # fmt: skip


def record(name: str, rows: Rows, code: str) -> dict[str, Any]:
    program = PROGRAMS[name]
    values = program.values(rows)
    ruled = [c for c in program.contrasts if c.rule]
    units = sorted(set.intersection(*(set(values[c.metric][arm]) for c in ruled for arm in (c.better, c.worse))))
    held = tuple(c for c in program.contrasts if all(arm in values.get(c.metric, {}) for arm in (c.better, c.worse)))
    experiment = Experiment(
        task=program.task, teacher=program.teacher, student=program.student, contrasts=held, seeds=len(units),
        preset="as declared", shrunk=program.note,
    )  # fmt: skip
    page = f"docs/experiments/{program.page}.md"
    commit, at_s = git("log", "--diff-filter=A", "--format=%H %ct", "--", page).split()
    return {
        "name": name,
        "recipe": "",
        "page": f"experiments/{program.page}.md",
        "unit": program.unit,
        "experiment": asdict(experiment),
        "contrasts": [j.as_json() for j in judge(experiment, values, seeds=units)],
        "values": {m: {arm: {str(s): v for s, v in by.items()} for arm, by in arms.items()} for m, arms in values.items()},
        "seeds": units,
        "command": "\n".join(program.commands),
        "declared": {"seal": "", "commit": commit, "date": when(int(at_s))},
        "date": when(time.time()),
        "minutes": None,
        "code": {"commit": git("rev-parse", code), "changed": [], "digest": ""},
        "packages": {package: package_version(package) for package in PACKAGES},
        "earlier": [],
    }


def when(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at_s))


def git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", str(top()), *arguments], capture_output=True, text=True, check=True).stdout.strip()


def top() -> Path:
    found = repository_of(Path(__file__).resolve())
    if found is None:
        raise SystemExit("records are written in a git work tree: the declaration's commit is read from it")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", choices=PROGRAMS)
    parser.add_argument("--rows", type=Path, nargs="+", required=True, help="what the program left, JSON lines")
    parser.add_argument("--code", default="HEAD", help="the commit that was run")
    options = parser.parse_args()
    rows = [json.loads(line) for path in options.rows for line in path.read_text().splitlines()]
    path = top() / "docs" / "records" / f"{options.name}.json"
    write_whole(path, orjson.dumps(record(options.name, rows, options.code), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    print(path.relative_to(top()))


if __name__ == "__main__":
    main()
