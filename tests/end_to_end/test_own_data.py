"""ARTE on a user's own files with a user's own models: real GSM8K rows, checkpoints of two foreign architectures made and taught here."""

import csv
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from checkpoints import tiny_checkpoint
from tutelage.objectives import cross_entropy
from tutelage.prompts.dialects import ENGLISH
from tutelage.prompts.questions import render_questions
from tutelage.prompts.techniques import GENERAL
from tutelage.prompts.wording import Wording
from tutelage.records import Example
from tutelage.tasks import open_task
from tutelage.train import FitSettings, Fixed

DATA = os.environ.get("TUTELAGE_DATA", "")
needs_data = pytest.mark.skipif(not (Path(DATA) / "gsm8k").is_dir(), reason="TUTELAGE_DATA names no folder with gsm8k")

TEACHING = FitSettings(lr=4e-3, batch=2, epochs=18, schedule="linear", warmup=0.05)


@pytest.fixture(scope="module")
def rows():
    """Sixty short real questions with small answers, so that chance alone makes some demonstrations better than others."""
    found = []
    for line in (Path(DATA) / "gsm8k" / "train.jsonl").read_text().splitlines():
        row = json.loads(line)
        answer = row["answer"].rpartition("####")[2].strip()
        if len(row["question"]) < 130 and answer in {"2", "3", "4", "5", "6", "8", "10", "12"}:
            found.append({"question": row["question"], "answer": answer})
    assert len(found) >= 60
    return found[:60]


@pytest.fixture(scope="module")
def files(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(r) for r in rows))
    with open(folder / "rows.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["Frage", "Antwort"])
        writer.writeheader()
        writer.writerows({"Frage": r["question"], "Antwort": r["answer"]} for r in rows)
    return folder


@pytest.fixture(scope="module")
def models(rows, files, tmp_path_factory):
    """A Qwen-style teacher that drafts and solves in the asked format, a GPT-2-style student that answers as its demonstration does."""
    from tutelage.train.loop import fit

    folder = tmp_path_factory.mktemp("models")
    rng = random.Random(0)
    task = open_task(f"file:{files / 'rows.jsonl'}")
    wording = Wording(dialect=ENGLISH, description=task.description, answer_format=task.answer_format)
    seeds, pool = list(task.seed), (list(task.train) or list(task.validation))[:16]

    def solution(problem):
        return f"It is {problem.answer}. <ans>{problem.answer}</ans>"

    drafting = []
    for _ in range(14):
        shown = rng.sample(seeds, k=min(3, len(seeds)))
        prompt = render_questions(
            ENGLISH, task=task.name, description=task.description, seeds=shown, count=5, first_id=100 * rng.randint(1, 9)
        )
        drafting.append(Example(prompt=prompt, completion=wording.question_reply([rng.choice(pool[:6])])))
    solving = [Example(prompt=wording.plain(p), completion=solution(p)) for p in pool]
    techniques = [
        Example(prompt=wording.technique(t.name, t.instruction)(p), completion=solution(p)) for t in GENERAL for p in rng.sample(pool, k=4)
    ]
    answering = [Example(prompt=wording.plain(p), completion=solution(p)) for p in pool]
    for _ in range(48):
        demo, question = rng.sample([*pool, *seeds], k=2)
        answering.append(Example(prompt=wording.shots([(demo.text, solution(demo))])(question), completion=solution(demo)))

    taught = {}
    for role, family, examples in (("teacher", "qwen3", drafting + solving + techniques), ("student", "gpt2", answering)):
        still = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0} if family == "gpt2" else {}
        blank = tiny_checkpoint(folder / f"{role}-blank", family, seed=3, width=64, context=1024, spread=0.2, **still)
        taught[role] = folder / role
        done = fit(model=blank, source=Fixed(examples), objective=cross_entropy(), settings=TEACHING, seed=0, out=taught[role])
        print(role, done.steps, done.tokens, done.seconds, done.log[-1], done.dropped)
    return {**taught, "blank": folder / "teacher-blank", "blank student": folder / "student-blank"}


def tutelage(*arguments, cwd):
    environment = {**os.environ, "TUTELAGE_RUNS": str(cwd / "runs"), "TUTELAGE_CACHE": str(cwd / "cache.sqlite")}
    return subprocess.run(
        [sys.executable, "-m", "tutelage", *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=280
    )


SMALL = (
    "--toy", "--set", "question_tokens=240", "--set", "rationale_tokens=40", "--set", "items_per_call=1", "--set", "response_shots=[0]",
    "--set", "dpo.lr=1e-4", "--task-set", "validation_size=12", "--task-set", "test_size=10",
)  # fmt: skip


@needs_data
@pytest.mark.parametrize(
    ("file", "options"),
    [("rows.jsonl", ()), ("rows.csv", ("--task-set", "question=Frage", "--task-set", "answer=Antwort"))],
)
def test_a_users_file_and_models_give_a_full_report(file, options, files, models, tmp_path):
    arms = ("--arm", "untouched", "--arm", "original_teacher", "--arm", "arte")
    done = tutelage(
        "run", "arte", "--task", f"file:{files / file}", "--teacher", f"hf:{models['teacher']}", "--student", f"hf:{models['student']}",
        *SMALL, *options, *arms, "--out", tmp_path / "run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "run" / "report.html").read_text()
    for arm in ("untouched", "original_teacher", "arte"):
        assert arm in page
    pairs = (tmp_path / "run" / "seeds" / "0" / "arte" / "records" / "pairs.jsonl").read_text().splitlines()
    examples = (tmp_path / "run" / "seeds" / "0" / "arte" / "records" / "examples.jsonl").read_text().splitlines()
    assert pairs
    assert examples
    assert "Question:" in json.loads(examples[0])["record"]["prompt"]["messages"][0]["content"]


@needs_data
def test_untrained_models_end_with_the_quality_gate_and_train_nothing(files, models, tmp_path):
    done = tutelage(
        "run", "arte", "--task", f"file:{files / 'rows.jsonl'}", "--teacher", f"hf:{models['blank']}",
        "--student", f"hf:{models['blank student']}", *SMALL, "--arm", "arte", "--out", tmp_path / "run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 4, done.stdout + done.stderr
    assert "kept 0 of" in done.stdout
    assert not list((tmp_path / "run").glob("fits/*"))
    assert (tmp_path / "run" / "report.html").exists()


@needs_data
def test_recorded_rationales_teach_on_real_questions(models, tmp_path):
    done = tutelage(
        "run", "sft", "--task", "bbh/navigate", "--teacher", f"recorded:{DATA}/bbh_recorded/navigate.jsonl",
        "--student", f"hf:{models['blank student']}", "--toy", "--test-limit", 10, "--arm", "sft", "--set", "rationale_tokens=400",
        "--out", tmp_path / "run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    examples = (tmp_path / "run" / "seeds" / "0" / "sft" / "records" / "examples.jsonl").read_text().splitlines()
    assert len(examples) == 6
    assert "steps" in json.loads(examples[0])["record"]["completion"]
