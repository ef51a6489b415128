"""`gsm8k-marked`: the published test questions of GSM8K, each with four solutions that real language models wrote, marked right or wrong.

For reward models: what is tested is which of two solutions of one question is right. Questions are split, never solutions, so no question
of the test was seen with other solutions in training. A question enters validation and test only where its solutions are right and wrong
ones; training keeps the others too (a critic can learn from them). Read from `gsm8k/model_solutions.jsonl` below TUTELAGE_DATA. Options:
`validation_size` and `test_size` (questions), `split_seed`, and `test_on` (`validation`: one half of the validation questions takes the
place of the test, so that nothing is tuned on the test).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.errors import DataError
from tutelage.records import Problem
from tutelage.rows import BadRow, read_rows
from tutelage.tasks.arithmetic import mark_equations
from tutelage.tasks.options import Options
from tutelage.tasks.published import published_file, published_task
from tutelage.tasks.splits import at, deal, without_repeats
from tutelage.tasks.task import Task
from tutelage.verify.numeric import numeric

NAME = "gsm8k-marked"
VERSION = "1"
LICENCE = "MIT"
FILE = "gsm8k/model_solutions.jsonl"
WRITERS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
ROWS = 1319
DESCRIPTION = "Solve a word problem with elementary arithmetic. The answer is one number."


def names() -> tuple[str, ...]:
    return (NAME,)


def load(name: str, options: Mapping[str, Any]) -> Task:
    chosen = Options(name, options)
    validation_size = chosen.whole("validation_size", 160, least=2) or 0
    test_size = chosen.whole("test_size", 240, least=2) or 0
    split_seed = chosen.whole("split_seed", 0) or 0
    tested = chosen.one_of("test_on", ("test", "validation"), "test")
    chosen.done()
    path = published_file(name, FILE)
    unique, dropped = without_repeats({"train": _read(path)})
    mixed = [p for p in unique["train"] if _mixed(p)]
    dealt = deal(mixed, {"test": test_size, "validation": validation_size, "seed": 2}, rest="train", seed=split_seed)
    held = {p.id for split in ("test", "validation", "seed") for p in dealt[split]}
    train = tuple(p for p in unique["train"] if p.id not in held)
    test, validation = dealt["test"], dealt["validation"]
    if tested == "validation":
        half = len(validation) // 2
        test, validation = validation[:half], validation[half:]
    return published_task(
        name,
        {"seed": dealt["seed"], "train": train, "validation": validation, "test": test},
        seeds=1,
        fix=f"the published file has {ROWS:,} questions; ask for smaller splits",
        options=options,
        version=VERSION,
        licence=LICENCE,
        chance=0.5,
        description=DESCRIPTION,
        verify=numeric,
        criticise=criticise,
        dropped=dropped,
    )


def criticise(problem: Problem, text: str) -> list[tuple[str, bool]] | None:
    """Each equation of the solution, and whether its arithmetic holds and its numbers have been heard of before; then given numbers that
    were left unused. It does not know the answer."""
    return mark_equations(problem.text, text)


def _mixed(problem: Problem) -> bool:
    return {s["right"] for s in problem.context["solutions"]} == {True, False}


def _read(path: Any) -> list[Problem]:
    problems: list[Problem] = []
    for row in read_rows(path):
        if isinstance(row, BadRow):
            raise DataError(f"file of {NAME} is not as published: {row}", got=str(path), fix="download it again")
        marked = [row.values.get(w) for w in WRITERS]
        if "question" not in row.values or any(not isinstance(m, dict) or "is_correct" not in m for m in marked):
            raise DataError(f"file of {NAME} is not as published", got=f"{path} line {row.line}", fix="download it again")
        answer = str(row.values.get("ground_truth", "")).rpartition("\n")[2].removeprefix("A:").strip().replace(",", "")
        solutions: dict[str, dict[str, Any]] = {}
        for writer, m in zip(WRITERS, marked, strict=True):
            if m is not None and str(m["solution"]).strip():
                solutions.setdefault(str(m["solution"]).strip(), {"by": writer, "right": bool(m["is_correct"])})
        listed = [{"text": text, **facts} for text, facts in solutions.items()]
        problems.append(
            Problem(
                text=str(row.values["question"]).strip(), answer=answer, skill="gsm8k", context={"solutions": listed},
                origin=at(path, "marked", row.line),
            )
        )  # fmt: skip
    return problems
