"""GSM8K: grade-school word problems in arithmetic, read from `TUTELAGE_DATA`/gsm8k/{train,test}.jsonl.

The published test split is the test split. Validation (500) and seed (32) are taken from the published training split by a hash of the
question; the rest is train. `context["solution"]` holds the published worked solution. Options: `seed_size`, `train_size`,
`validation_size`, `test_size`, `split_seed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.errors import DataError
from tutelage.records import Problem
from tutelage.rows import BadRow, read_rows
from tutelage.tasks.options import Options
from tutelage.tasks.published import published_file, published_task
from tutelage.tasks.splits import at, deal, thin, without_repeats
from tutelage.tasks.task import Task, Technique
from tutelage.verify.numeric import numeric

NAME = "gsm8k"
VERSION = "1"
LICENCE = "MIT"
CHANCE = 0.0
PUBLISHED_ROWS = {"train": 7473, "test": 1319}

DESCRIPTION = "Solve a word problem with elementary arithmetic. The answer is one number."

TECHNIQUES = (
    Technique(
        name="expert",
        instruction=(
            "You are a patient teacher of arithmetic and always work in the same order: list the given quantities with their units; "
            "name what is asked; write one equation a line and compute it; check that the result answers the question."
        ),
    ),
    Technique(
        name="rules",
        instruction=(
            "First recall the rules that this problem needs (rates, percentages, fractions, totals and differences). "
            "Then apply them to the numbers of the problem, step by step."
        ),
    ),
    Technique(name="bare", instruction="Solve the problem."),
    Technique(
        name="exam",
        instruction=(
            "Treat this as a question of an exam: read it twice, cross out what is not needed, estimate the size of the answer, "
            "compute, and compare the result with the estimate."
        ),
    ),
)


def names() -> tuple[str, ...]:
    return (NAME,)


def load(name: str, options: Mapping[str, Any]) -> Task:
    chosen = Options(name, options)
    seed_size, validation_size = chosen.whole("seed_size", 32, least=1) or 0, chosen.whole("validation_size", 500, least=2) or 0
    train_size, test_size = chosen.whole("train_size"), chosen.whole("test_size", least=2)
    split_seed = chosen.whole("split_seed", 0) or 0
    chosen.done()
    read = {split: _read(published_file(name, f"gsm8k/{split}.jsonl"), split) for split in ("train", "test")}
    unique, dropped = without_repeats(read)
    dealt = deal(unique["train"], {"seed": seed_size, "validation": validation_size}, rest="train", seed=split_seed)
    splits = dealt | {
        "train": thin(dealt["train"], train_size, seed=split_seed),
        "test": thin(unique["test"], test_size, seed=split_seed),
    }
    return published_task(
        name,
        splits,
        seeds=1,
        fix="the published files are longer; ask for larger splits",
        options=options,
        version=VERSION,
        licence=LICENCE,
        chance=CHANCE,
        description=DESCRIPTION,
        verify=numeric,
        techniques=TECHNIQUES,
        dropped=dropped,
    )


def _read(path: Path, split: str) -> list[Problem]:
    problems: list[Problem] = []
    for row in read_rows(path):
        if isinstance(row, BadRow):
            raise DataError(f"file of gsm8k is not as published: {row}", got=str(path), fix="download it again")
        solution, marker, answer = str(row.values.get("answer", "")).rpartition("####")
        if not marker or "question" not in row.values:
            raise DataError("file of gsm8k is not as published", got=f"{path} line {row.line}", fix="download it again")
        problems.append(
            Problem(
                text=row.values["question"].strip(),
                answer=answer.strip().replace(",", ""),
                skill=NAME,
                context={"solution": solution.strip()},
                origin=at(path, split, row.line),
            )
        )
    return problems
