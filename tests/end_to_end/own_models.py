"""A user's own classroom: real GSM8K rows as files, and checkpoints of two foreign architectures taught the answer format on them.

The teacher is Qwen-style with a chat template, the student GPT-2-style without one; each has a tokenizer of its own raised on the texts.
The teacher writes mixtures of the questions it has seen, with targets that are sometimes right, and solves as carelessly; the student
answers as its demonstration does. So the demonstrations are of different worth to the student, by real decoding of real weights.
"""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

import forked
from checkpoints import tiny_checkpoint
from tutelage.objectives import cross_entropy
from tutelage.prompts.dialects import ENGLISH
from tutelage.prompts.questions import render_questions
from tutelage.prompts.techniques import GENERAL
from tutelage.prompts.wording import Wording
from tutelage.records import Example, Problem
from tutelage.tasks import open_task
from tutelage.train import FitSettings, Fixed

DATA = os.environ.get("TUTELAGE_DATA", "")
needs_data = pytest.mark.skipif(not (Path(DATA) / "gsm8k").is_dir(), reason="TUTELAGE_DATA names no folder with gsm8k")

ANSWERS = ("4", "5", "6", "10")
"""Rows with one of these answers only: the probes' answers repeat, so that which answer a demonstration gives matters."""
SPLITS = {"validation_size": 12, "test_size": 10}
SPLIT_OPTIONS = tuple(part for name, value in SPLITS.items() for part in ("--task-set", f"{name}={value}"))
CONTEXT = 1024
STILL = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
"""GPT-2 without dropout: so small a model learns nothing with it."""


@dataclass(frozen=True, kw_only=True)
class Classroom:
    jsonl: Path
    csv: Path
    teacher: Path
    student: Path
    blank_teacher: Path
    blank_student: Path


def real_rows() -> list[dict[str, str]]:
    """Sixty short questions of GSM8K's training part."""
    found = []
    for line in (Path(DATA) / "gsm8k" / "train.jsonl").read_text().splitlines():
        row = json.loads(line)
        answer = row["answer"].rpartition("####")[2].strip()
        if len(row["question"]) < 130 and answer in ANSWERS:
            found.append({"question": row["question"], "answer": answer})
    assert len(found) >= 60
    return found[:60]


def write_files(folder: Path) -> tuple[Path, Path]:
    """The rows as JSONL and, under other column names, as CSV."""
    rows = real_rows()
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(r) for r in rows))
    with open(folder / "rows.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["Frage", "Antwort"])
        writer.writeheader()
        writer.writerows({"Frage": r["question"], "Antwort": r["answer"]} for r in rows)
    return folder / "rows.jsonl", folder / "rows.csv"


def make_classroom(folder: Path) -> Classroom:
    """Files and models; some fifteen seconds of one core."""
    from tutelage.train.loop import fit

    jsonl, table = write_files(folder)
    task = open_task(f"file:{jsonl}", SPLITS)
    wording = Wording(dialect=ENGLISH, description=task.description, answer_format=task.answer_format)
    pool = sorted(task.train, key=lambda p: len(p.text))[:12]
    lessons = {"teacher": _teacher_lessons(wording, task.name, task.seed, pool), "student": _student_lessons(wording, task.seed, pool)}
    texts = [example.prompt.text + example.completion for examples in lessons.values() for example in examples]
    blanks = {
        "teacher": tiny_checkpoint(
            folder / "teacher-blank", "qwen3", seed=3, chat=True, spread=0.5, width=64, context=CONTEXT, vocabulary=1500, corpus=texts
        ),
        "student": tiny_checkpoint(
            folder / "student-blank", "gpt2", seed=3, spread=0.5, width=64, context=CONTEXT, vocabulary=1000, corpus=texts, **STILL
        ),
    }
    for role, batch, epochs in (("teacher", 4, 10), ("student", 8, 8)):
        settings = FitSettings(lr=6e-3, batch=batch, epochs=epochs, schedule="linear", warmup=0.05)
        fit(model=blanks[role], source=Fixed(lessons[role]), objective=cross_entropy(), settings=settings, seed=0, out=folder / role)
    return Classroom(
        jsonl=jsonl,
        csv=table,
        teacher=folder / "teacher",
        student=folder / "student",
        blank_teacher=blanks["teacher"],
        blank_student=blanks["student"],
    )


def _solution(answer: str | None) -> str:
    return f"It is {answer}. <ans>{answer}</ans>"


def _teacher_lessons(wording: Wording, name: str, seeds: tuple[Problem, ...], pool: list[Problem]) -> list[Example]:
    """Draft one of the pool's questions whatever is shown; solve, with every other technique carelessly."""
    rng = random.Random(0)
    lessons = []
    for turn in range(4 * len(pool)):
        prompt = render_questions(
            ENGLISH, task=name, description=wording.description, seeds=rng.sample(seeds, k=3), count=1, first_id=100 * rng.randint(1, 9)
        )
        lessons.append(Example(prompt=prompt, completion=wording.question_reply([pool[turn % len(pool)]])))
    lessons += [Example(prompt=wording.plain(p), completion=_solution(p.answer)) for p in pool]
    for place, technique in enumerate(GENERAL):
        for problem in pool[place % 3 :: 3]:
            answer = problem.answer if place % 2 == 0 else rng.choice(ANSWERS)
            lessons.append(Example(prompt=wording.technique(technique.name, technique.instruction)(problem), completion=_solution(answer)))
    return lessons


def _student_lessons(wording: Wording, seeds: tuple[Problem, ...], pool: list[Problem]) -> list[Example]:
    """Alone a right answer, behind a demonstration that one's."""
    rng = random.Random(1)
    lessons = [Example(prompt=wording.plain(p), completion=_solution(p.answer)) for p in pool]
    for _ in range(64):
        shown, asked = rng.sample([*pool, *seeds], k=2)
        answer = rng.choice(ANSWERS)
        lessons.append(Example(prompt=wording.shots([(shown.text, _solution(answer))])(asked), completion=_solution(answer)))
    return lessons


def tutelage(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, with stores of its own below `cwd`."""
    stores = {"TUTELAGE_RUNS": str(cwd / "runs"), "TUTELAGE_CACHE": str(cwd / "cache.sqlite")}
    return forked.run("-m", "tutelage", *arguments, cwd=cwd, env={**os.environ, **stores, **environment})
