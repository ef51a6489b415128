"""What the second bundled pair does on published questions of BIG-Bench Hard, and what teaching inside a run adds.

    python benchmarks/real_questions.py teacher            # bar 1, on generated held-out questions
    python benchmarks/real_questions.py students           # bar 2, on generated held-out questions: for choosing settings
    python benchmarks/real_questions.py preference         # whether the student's one-shot scores are fit to align by
    python benchmarks/real_questions.py teacher --real     # the run of record, as declared in docs/experiments/real-questions.md
    python benchmarks/real_questions.py tables --real      # tables of what is there

Needs the published files in TUTELAGE_DATA/bbh for `--real`. Published questions are only ever answered, never trained on and never chosen
on. Rows are appended to --out and finished ones are not done again. Every line gives the answers' accuracy and, beside it, the share
of solutions in which the solver finds every step right: right answers do not prove right steps.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tutelage
from tutelage import backends
from tutelage.capabilities import Sampling
from tutelage.measure.intervals import t_interval, wilson
from tutelage.measure.reliability import preference_reliability
from tutelage.prompts.dialects import DIALECTS
from tutelage.prompts.wording import Wording
from tutelage.records import ModelRef, Problem, Prompt, Solution
from tutelage.seeds import derive, stream
from tutelage.signals.one_shot import one_shot
from tutelage.tasks import bbh_world as world
from tutelage.tasks import open_task
from tutelage.tasks.bbhlike import draw_problems

WEB, BOOLEAN, NAVIGATE, TRACKING, COUNTING = world.SKILLS
RATIONALE_TOKENS = 240
EXAMPLES = 1000
"""Generated questions, and as many rationales, per run."""
EPOCHS = {WEB: 8, TRACKING: 12}
FIT = {"sft.lr": 4e-3, "sft.batch": 8, "sft.schedule": "linear", "sft.warmup": 0.03}
ARMS = ("verified", "unverified", "answers_only", "scratch")
TEACHER, STUDENT = "bundled:bbh-teacher", "bundled:bbh-student"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Questions of one sub-task with how they are asked and checked."""

    skill: str
    problems: tuple[Problem, ...]
    task: Any


def sheet(skill: str, *, real: bool, count: int | None) -> Sheet:
    """All published questions of a sub-task, or as many generated ones that no model was raised on and no choice was made on."""
    if real:
        task = open_task(f"bbh/{skill}")
        problems = (*task.seed, *task.train, *task.validation, *task.test)
        return Sheet(skill=skill, problems=problems[:count], task=task)
    task = open_task(f"bbhlike/{skill}")
    return Sheet(skill=skill, problems=tuple(draw_problems(skill, "test", count or 200, seed=0)), task=task)


def wording_of(ref: ModelRef, task: Any) -> Wording:
    return Wording(dialect=DIALECTS[backends.facts(ref).dialect], description=task.description, answer_format=task.answer_format)


# --- measuring --------------------------------------------------------------------------------------------------------------------


def free(model: Any, wording: Wording, asked: Sheet) -> tuple[dict[str, float], list[str]]:
    """Shares over the questions: right answers, answers that could be read, solutions right in every step; and the texts."""
    prompts = [wording.plain(p) for p in asked.problems]
    replies = model.generate(prompts, Sampling(max_tokens=RATIONALE_TOKENS, stop=wording.dialect.solution_stop))
    texts = [r[0].text for r in replies]
    verdicts = [asked.task.verify(p, t) for p, t in zip(asked.problems, texts, strict=True)]
    n = len(texts)
    return {
        "n": n,
        "answers": sum(v.right for v in verdicts) / n,
        "parsed": sum(v.parsed for v in verdicts) / n,
        "traces": sum(not world.trace_errors(p.text, t, asked.skill) for p, t in zip(asked.problems, texts, strict=True)) / n,
    }, texts


def forced(model: Any, prompts: Sequence[Prompt], asked: Sheet, lead: str) -> float:
    """Share of questions whose right option has the highest total log-probability behind the prompt."""
    options = world.SKILLS[asked.skill].choices
    scores = model.score([p for p in prompts for _ in options], [lead.format(answer=o) for _ in prompts for o in options])
    totals = [s.total_nats for s in scores]
    right = 0
    for i, problem in enumerate(asked.problems):
        mine = totals[i * len(options) : (i + 1) * len(options)]
        right += options[max(range(len(options)), key=lambda j: (mine[j], -j))] == problem.answer
    return right / len(asked.problems)


def measure(ref: ModelRef, asked: Sheet) -> dict[str, float]:
    """Free generation, and forced choice twice: right behind the question, and behind the steps that the model wrote itself."""
    model, wording = backends.open_backend(ref), wording_of(ref, asked.task)
    shares, texts = free(model, wording, asked)
    if not world.SKILLS[asked.skill].choices:
        return shares
    prompts = [wording.plain(p) for p in asked.problems]
    steps = [t.partition(world.ANSWER.rstrip())[0].rstrip() for t in texts]
    continued = [Prompt.user(f"{p.text} {s}", kind="solve.plain") if s else p for p, s in zip(prompts, steps, strict=True)]
    return shares | {
        "forced": forced(model, prompts, asked, "Answer: {answer}"),
        "forced_after_steps": forced(model, continued, asked, world.ANSWER + "{answer}"),
    }


# --- bar 1 ------------------------------------------------------------------------------------------------------------------------


def teacher(options: argparse.Namespace, book: Book) -> None:
    ref = backends.resolve(options.teacher)
    for skill in options.tasks or world.SKILLS:
        key = {"part": "teacher", "task": skill, "model": ref.digest[:24]}
        if not book.has(key):
            asked = sheet(skill, real=options.real, count=options.count)
            shares, _ = free(backends.open_backend(ref), wording_of(ref, asked.task), asked)
            book.write(key, shares)


# --- bar 2 ------------------------------------------------------------------------------------------------------------------------


def students(options: argparse.Namespace, book: Book) -> None:
    """The student before, and after being taught on generated questions by the teacher's own rationales, per arm and seed."""
    untaught = backends.resolve(options.student)
    for skill in options.tasks or (WEB, TRACKING):
        asked = sheet(skill, real=options.real, count=options.count)
        key = {"part": "student", "task": skill, "arm": "before", "seed": 0, "model": untaught.digest[:24]}
        if not book.has(key):
            book.write(key, measure(untaught, asked))
    for arm in options.arms or ARMS:
        for seed in options.seeds:
            for skill in options.tasks or (WEB, TRACKING):
                key = {"part": "student", "task": skill, "arm": arm, "seed": seed, "model": untaught.digest[:24]}
                if book.has(key):
                    continue
                began = time.monotonic()
                taught, facts = teach(options, skill, arm, seed)
                asked = sheet(skill, real=options.real, count=options.count)
                book.write(key, measure(taught, asked) | facts | {"seconds": round(time.monotonic() - began, 1)})


def teach(options: argparse.Namespace, skill: str, arm: str, seed: int) -> tuple[ModelRef, dict[str, float]]:
    """One run of a recipe with one arm; the taught student and facts of its making."""
    folder = options.out / "runs" / f"{skill}-{arm}-{seed}"
    recipe, name = {
        "verified": ("verified-sampling", "verified_sampling"),
        "unverified": ("verified-sampling", "unverified"),
        "answers_only": ("sft", "answers_only"),
        "scratch": ("verified-sampling", "verified_sampling"),
    }[arm]
    settings: dict[str, Any] = {"examples": options.examples, "rationale_tokens": RATIONALE_TOKENS, "shots": [0], **FIT}
    settings["sft.lr"] = options.lr or FIT["sft.lr"]
    settings["sft.epochs"] = options.epochs or EPOCHS.get(skill, 8)
    if recipe == "verified-sampling":
        settings |= {"tries": 2, "temperature": 0.7}
    student = scratch(options, seed) if arm == "scratch" else options.student
    tutelage.run(
        recipe, teacher=options.teacher, student=student, task=f"bbhlike/{skill}", arms=[name], seed=seed, preset="laptop",
        settings=settings, task_options={"train_size": 2 * options.examples, "validation_size": 1, "test_size": 60}, out=folder,
    )  # fmt: skip
    fits = sorted(folder.glob("fits/*/fit.json"))
    if len(fits) != 1:
        raise RuntimeError(f"expected one training in {folder}, found {len(fits)}")
    summary = json.loads(fits[0].read_text())
    facts = {k: summary[k] for k in ("examples", "steps", "tokens") if k in summary} | {"fit_seconds": summary.get("seconds", math.nan)}
    return backends.resolve(f"hf:{fits[0].parent}"), facts


def scratch(options: argparse.Namespace, seed: int) -> str:
    """A model of the student's shape with random weights."""
    import shutil

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    path = backends.resolve(options.student).path
    if path is None:
        raise RuntimeError("the student has no folder")
    folder = options.out / "scratch" / str(seed)
    if not (folder / "model.safetensors").exists():
        torch.manual_seed(derive(seed, "scratch"))
        config = LlamaConfig.from_pretrained(path)
        LlamaForCausalLM(config).float().save_pretrained(folder)
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(Path(path) / name, folder / name)
        (folder / "generation_config.json").unlink(missing_ok=True)
        about = json.loads((folder / "config.json").read_text()) | {"dtype": "float32"}
        (folder / "config.json").write_text(json.dumps(about, indent=2))
    return f"hf:{folder}"


# --- the gate ---------------------------------------------------------------------------------------------------------------------


def preference(options: argparse.Namespace, book: Book) -> None:
    """One-shot scores of drafts by the student as ARTE makes them, and what its reliability gate says. Generated questions only."""
    writer, reader = backends.resolve(options.teacher), backends.resolve(options.student)
    for skill in options.tasks or world.SKILLS:
        for seed in options.seeds:
            key = {"part": "preference", "task": skill, "seed": seed, "model": reader.digest[:24], "teacher": writer.digest[:24]}
            if book.has(key):
                continue
            task = open_task(f"bbhlike/{skill}")
            problems = stream(seed, "drafts", skill).sample(task.train, k=options.drafts)
            solutions: list[Solution] = []
            drawn = Sampling(max_tokens=RATIONALE_TOKENS, temperature=1.0, n=4, seed=derive(seed, "drafts", skill), stop=("\n\n",))
            prompts = [wording_of(writer, task).plain(p) for p in problems]
            for problem, replies in zip(problems, backends.open_backend(writer).generate(prompts, drawn), strict=True):
                solutions += [Solution(problem=problem, text=r.text.strip(), technique="draw", sample=i) for i, r in enumerate(replies)]
            probes = task.validation[: options.probes]
            wording = wording_of(reader, task)
            feedback = one_shot(
                backends.open_backend(reader), solutions, probes={skill: probes}, verify=task.verify,
                render=lambda s, p, w=wording: w.shots([(s.problem.text, s.text)])(p),
                sampling=Sampling(max_tokens=RATIONALE_TOKENS, stop=("\n\n",)), student_id=reader.id,
            )  # fmt: skip
            found = preference_reliability(
                [f.parts for f in feedback], skills=[skill] * len(solutions), styles=["draw"] * len(solutions), rng=stream(seed, "halves")
            )
            values = [f.value for f in feedback if f.value is not None]
            book.write(
                key,
                {
                    "items": len(solutions), "probes": len(probes), "one_shot": sum(values) / len(values),
                    "within_skill": found.within_skill.corrected, "verdict": found.verdict, "reason": found.reason,
                },
            )  # fmt: skip


# --- results ----------------------------------------------------------------------------------------------------------------------


class Book:
    """Finished measurements, one JSON line each."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Read anew each time: several processes may fill one book, each with tasks, arms or seeds of its own."""
        return [json.loads(line) for line in self._path.read_text().splitlines()] if self._path.exists() else []

    def has(self, key: dict[str, Any]) -> bool:
        return any(all(row.get(k) == v for k, v in key.items()) for row in self.rows)

    def write(self, key: dict[str, Any], found: dict[str, Any]) -> None:
        row = key | found
        with self._path.open("a") as out:
            out.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def tables(book: Book) -> str:
    lines = ["| task | n | right answers | 95 % interval (Wilson) | every step right | answer read |", "|---|---|---|---|---|---|"]
    for row in book.rows:
        if row["part"] == "teacher":
            inside = wilson(round(row["answers"] * row["n"]), row["n"])
            lines.append(
                f"| {row['task']} | {row['n']} | {100 * row['answers']:.1f} | {_percent(inside.low)} to {_percent(inside.high)} "
                f"| {100 * row['traces']:.1f} | {100 * row['parsed']:.1f} |"
            )
    lines += ["", "| task | arm | seeds | free generation | every step right | forced choice | forced choice behind own steps |"]
    lines += ["|---|---|---|---|---|---|---|"]
    taught = [r for r in book.rows if r["part"] == "student"]
    for task, arm in dict.fromkeys((r["task"], r["arm"]) for r in taught):
        rows = [r for r in taught if (r["task"], r["arm"]) == (task, arm)]
        cells = [_spread([r[k] for r in rows]) for k in ("answers", "traces", "forced", "forced_after_steps")]
        lines.append(f"| {task} | {arm} | {len(rows)} | " + " | ".join(cells) + " |")
    lines += ["", "| task | arm | gain in free generation over the best forced choice before | 95 % interval (t) |", "|---|---|---|---|"]
    for task, arm in dict.fromkeys((r["task"], r["arm"]) for r in taught if r["arm"] != "before"):
        start = [max(r["answers"], r["forced"], r["forced_after_steps"]) for r in taught if (r["task"], r["arm"]) == (task, "before")]
        gains = [r["answers"] - start[0] for r in taught if (r["task"], r["arm"]) == (task, arm)] if start else []
        if gains:
            lines.append(f"| {task} | {arm} | {100 * sum(gains) / len(gains):+.1f} | {_ends(gains)} |")
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _spread(values: Sequence[float]) -> str:
    each = ", ".join(f"{100 * v:.1f}" for v in values)
    return each if len(values) == 1 else f"{100 * sum(values) / len(values):.1f} ({each})"


def _ends(values: Sequence[float]) -> str:
    found = t_interval(values)
    return "one seed" if found.low is None or found.high is None else f"{100 * found.low:+.1f} to {100 * found.high:+.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("teacher", "students", "preference", "tables"))
    parser.add_argument("--real", action="store_true", help="the published questions, for the declared run of record only")
    parser.add_argument("--teacher", default=TEACHER)
    parser.add_argument("--student", default=STUDENT)
    parser.add_argument("--tasks", nargs="*", choices=tuple(world.SKILLS))
    parser.add_argument("--arms", nargs="*", choices=ARMS)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--examples", type=int, default=EXAMPLES)
    parser.add_argument("--epochs", type=int, help="default: 8 for web_of_lies, 12 for tracking")
    parser.add_argument("--lr", type=float, help=f"default: {FIT['sft.lr']}")
    parser.add_argument("--count", type=int, help="questions per sub-task (default: all 250 published, 200 generated)")
    parser.add_argument("--drafts", type=int, default=20)
    parser.add_argument("--probes", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path("build/real_questions"))
    options = parser.parse_args()
    os.environ.setdefault("TUTELAGE_CACHE", str(options.out / "cache.sqlite"))
    book = Book(options.out / ("published.jsonl" if options.real else "generated.jsonl"))
    if options.part == "tables":
        print(tables(book))
        return
    {"teacher": teacher, "students": students, "preference": preference}[options.part](options, book)


if __name__ == "__main__":
    main()
