"""Does the student decide? Teachers aligned to students of two notations, each teaching students of both.

    python scripts/pretrain_bundled.py --which notation-teacher --out build/notations/0
    for n in 1 2; do for s in steps before; do
        python scripts/pretrain_bundled.py --which $s-student --lineage $n --out build/notations/$n; done; done
    python benchmarks/notations.py align          # ARTE for every student; also the unaligned teacher and shuffled scores
    python benchmarks/notations.py cross          # the table: the teacher aligned to a student of the other notation teaches this one
    python benchmarks/notations.py siblings       # the teacher aligned to another student of the same notation does
    python benchmarks/notations.py curve          # the same with fewer and more examples
    python benchmarks/notations.py tables         # tables of what is there (the default)

As declared in docs/experiments/notations.md. Every run is the recipe `arte` through the public door: a teacher aligned to one student is
the teacher of another run, arm `original_teacher`. Students are called NOTATION-LINEAGE, `steps-1`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tutelage
from _chained_runs import Book, accuracies, mean, note, over, records, trained

SETTINGS: dict[str, Any] = {
    "check_data": True, "tries": 2, "drafts": 24, "probes": 8, "response_shots": [0], "shots": [0],
    "dpo.lr": 1e-4, "dpo.epochs": 5, "tailored": 30,
}  # fmt: skip
"""Over the laptop preset. Only right rationales are kept, so that columns do not differ in correctness."""
SKILLS = 4
EXAMPLES = SETTINGS["tailored"] * SKILLS
CURVE = (60, 240, 960)
ARMS = ("untouched", "original_teacher", "arte", "shuffled")
OTHER = {"steps": "before", "before": "steps"}


def folder_of(options: argparse.Namespace, student: str) -> Path:
    notation, _, lineage = student.partition("-")
    return options.models / lineage / f"{notation}-student"


def task_options(options: argparse.Namespace) -> dict[str, Any]:
    return {"styles": "steps,before", "test_seed": options.test_seed}


def align(options: argparse.Namespace, book: Book) -> None:
    for seed in options.seeds:
        for student in options.students:
            if book.has(part="align", student=student, seed=seed, arm=ARMS[-1]):
                continue
            out = options.out / "runs" / f"align-{student}-{seed}"
            done = arte(options, student, seed, ARMS, out, options.settings)
            refused = done.refused.get(f"{seed}/arte")
            anyway = out.with_name(f"{out.name}-anyway")
            if refused:
                arte(options, student, seed, ("arte", "shuffled"), anyway, options.settings | {"align_anyway": True})
            for arm in ARMS:
                run = anyway if refused and arm in ("arte", "shuffled") else out
                reliability = (note(run, seed, arm, "reliability") or {}).get("within_skill", {}).get("corrected")
                row: dict[str, Any] = accuracies(run, seed, arm)
                if arm == "arte":
                    row |= {"liked": _by_notation(note(run, seed, arm, "preference_by_style")), "refused": bool(refused)}
                if arm in ("arte", "shuffled"):
                    row["pairs"] = len(records(run, seed, arm, "pairs"))
                book.write(
                    part="align", student=student, seed=seed, arm=arm, styles=note(run, seed, arm, "styles_written"),
                    reliability=reliability, **row,
                )  # fmt: skip


def arte(options: argparse.Namespace, student: str, seed: int, arms: Sequence[str], out: Path, settings: dict[str, Any]) -> Any:
    return tutelage.run(
        "arte", task="folds/*", task_options=task_options(options), teacher=f"hf:{options.models / '0' / 'notation-teacher'}",
        student=f"hf:{folder_of(options, student)}", arms=arms, seed=seed, preset="laptop", settings=settings, out=out,
    )  # fmt: skip


def aligned_run(options: argparse.Namespace, student: str, seed: int) -> Path:
    """Where the teacher aligned to `student` is: in the second run where the reliability gate refused the first."""
    out = options.out / "runs" / f"align-{student}-{seed}"
    anyway = out.with_name(f"{out.name}-anyway")
    return anyway if anyway.exists() else out


def _by_notation(by_skill: dict[str, dict[str, float]] | None) -> dict[str, float]:
    """Mean score of drafts in each notation, over skills."""
    return {n: mean([s[n] for s in by_skill.values() if n in s]) for n in OTHER} if by_skill else {}


def cross(options: argparse.Namespace, book: Book) -> None:
    for seed in options.seeds:
        for student in options.students:
            teach(options, book, foreign_sister(student), student, seed, EXAMPLES)


def siblings(options: argparse.Namespace, book: Book) -> None:
    for seed in options.seeds:
        for student in options.students:
            for writer in options.students:
                if writer != student and writer.partition("-")[0] == student.partition("-")[0]:
                    teach(options, book, writer, student, seed, EXAMPLES)


def curve(options: argparse.Namespace, book: Book) -> None:
    for examples in options.sizes:
        for seed in options.seeds:
            for student in options.students:
                teach(options, book, student, student, seed, examples)
                teach(options, book, foreign_sister(student), student, seed, examples)


def foreign_sister(student: str) -> str:
    """The student of the same lineage number and the other notation."""
    notation, _, lineage = student.partition("-")
    return f"{OTHER[notation]}-{lineage}"


def teach(options: argparse.Namespace, book: Book, writer: str, student: str, seed: int, examples: int) -> None:
    """The teacher aligned to `writer` teaches `student`."""
    key = {"part": "teach", "aligned_to": writer, "student": student, "seed": seed, "examples": examples}
    if book.has(**key):
        return
    out = options.out / "runs" / f"teach-{writer}-{student}-{seed}-{examples}"
    tutelage.run(
        "arte", task="folds/*", task_options=task_options(options),
        teacher=trained(aligned_run(options, writer, seed), seed, "arte", "align"),
        student=f"hf:{folder_of(options, student)}", arms=["original_teacher"], seed=seed, preset="laptop",
        settings=options.settings | {"tailored": examples // SKILLS}, out=out,
    )  # fmt: skip
    arm = "original_teacher"
    book.write(
        **key, **accuracies(out, seed, arm), taught=len(records(out, seed, arm, "examples")), styles=note(out, seed, arm, "styles_written")
    )


# --- tables -----------------------------------------------------------------------------------------------------------------------


def matched(book: Book, student: str, seed: int, examples: int = EXAMPLES) -> float | None:
    """Taught by the teacher aligned to it."""
    rows = book.find(part="align", student=student, seed=seed, arm="arte") if examples == EXAMPLES else []
    rows += book.find(part="teach", aligned_to=student, student=student, seed=seed, examples=examples)
    return rows[0].get("shots0") if rows else None


def by_others(book: Book, student: str, seed: int, *, same: bool, examples: int = EXAMPLES) -> float | None:
    """Mean over the teachers aligned to other students of the same, or of the other, notation."""
    rows = book.find(part="teach", student=student, seed=seed, examples=examples)
    notation = student.partition("-")[0]
    values = [
        r["shots0"]
        for r in rows
        if r["aligned_to"] != student and (r["aligned_to"].partition("-")[0] == notation) == same and "shots0" in r
    ]
    return mean(values) if values else None


def arm_of(book: Book, student: str, seed: int, arm: str) -> float | None:
    rows = book.find(part="align", student=student, seed=seed, arm=arm)
    return rows[0].get("shots0") if rows else None


def difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def tables(book: Book) -> str:
    students = list(dict.fromkeys(r["student"] for r in book.rows))
    seeds = sorted({r["seed"] for r in book.rows if r["part"] == "align"})
    columns = {
        "before teaching": lambda s, k: arm_of(book, s, k, "untouched"),
        "its own teacher": lambda s, k: matched(book, s, k),
        "a teacher of the same notation": lambda s, k: by_others(book, s, k, same=True),
        "a teacher of the other notation": lambda s, k: by_others(book, s, k, same=False),
        "unaligned": lambda s, k: arm_of(book, s, k, "original_teacher"),
        "shuffled": lambda s, k: arm_of(book, s, k, "shuffled"),
    }
    lines = [f"| student | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for student in students:
        cells = [over(_known([found(student, k) for k in seeds])) for found in columns.values()]
        lines.append(f"| {student} | {' | '.join(cells)} |")
    lines += ["", "| difference | all students, over seeds | over students | each student |", "|---|---|---|---|"]
    pairs = {
        "matched - mismatched": ("its own teacher", "a teacher of the other notation"),
        "matched - unaligned": ("its own teacher", "unaligned"),
        "matched - shuffled": ("its own teacher", "shuffled"),
        "mismatched - unaligned": ("a teacher of the other notation", "unaligned"),
        "shuffled - unaligned": ("shuffled", "unaligned"),
        "own teacher - other student's of the same notation": ("its own teacher", "a teacher of the same notation"),
    }
    for name, (first, second) in pairs.items():
        table = {(s, k): difference(columns[first](s, k), columns[second](s, k)) for s in students for k in seeds}
        lines.append(f"| {name} | {_both_ways(table, students, seeds)} |")
    lines += ["", *_curve(book, students), "", *_preferences(book, students)]
    return "\n".join(lines)


def _known(values: Sequence[float | None]) -> list[float]:
    return [v for v in values if v is not None]


def _both_ways(table: dict[tuple[str, int], float | None], students: Sequence[str], seeds: Sequence[int]) -> str:
    """t over seeds of the mean over students; t over students of the mean over seeds; each student over seeds."""
    by_seed = [mean(v) for k in seeds if (v := _known([table[s, k] for s in students]))]
    by_student = [mean(v) for s in students if (v := _known([table[s, k] for k in seeds]))]
    each = "; ".join(f"{s} {over(v, signed=True)}" for s in students if (v := _known([table[s, k] for k in seeds])))
    return f"{over(by_seed, signed=True)} | {over(by_student, signed=True)} | {each}"


def _curve(book: Book, students: Sequence[str]) -> list[str]:
    lines = ["| examples | seeds | matched | mismatched | matched - mismatched, over seeds |", "|---|---|---|---|---|"]
    sizes = sorted({r["examples"] for r in book.find(part="teach")})
    for size in sizes:
        same_pair = {
            (r["student"], r["seed"]): r["shots0"]
            for r in book.find(part="teach", examples=size)
            if r["aligned_to"] == foreign_sister(r["student"])
        }
        seeds = sorted({k for _, k in same_pair})
        own = {(s, k): matched(book, s, k, size) for s in students for k in seeds}
        per_seed = []
        for k in seeds:
            found = [(own[s, k], same_pair.get((s, k))) for s in students]
            full = [(a, b) for a, b in found if a is not None and b is not None]
            if full:
                per_seed.append((mean([a for a, _ in full]), mean([b for _, b in full])))
        lines.append(
            f"| {size} | {len(per_seed)} | {over([a for a, _ in per_seed])} | {over([b for _, b in per_seed])} "
            f"| {over([a - b for a, b in per_seed], signed=True)} |"
        )
    return lines


def _preferences(book: Book, students: Sequence[str]) -> list[str]:
    lines = [
        "| student | liked: steps / before | reliability within a skill (lowest) | share of steps: own teacher | unaligned | shuffled |"
    ]
    lines.append("|---|---|---|---|---|---|")
    for student in students:
        rows = book.find(part="align", student=student, arm="arte")
        liked = [r["liked"] for r in rows if r.get("liked")]
        reliability = [r["reliability"] for r in rows if r["reliability"] is not None]
        shares = []
        for arm in ("arte", "original_teacher", "shuffled"):
            found = [_share(r["styles"]) for r in book.find(part="align", student=student, arm=arm) if r["styles"]]
            shares.append(f"{mean(found):.2f} ({min(found):.2f}-{max(found):.2f})" if found else "")
        told = " / ".join(f"{mean([x[n] for x in liked]):.2f}" for n in OTHER) if liked else ""
        lowest = f"{mean(reliability):.2f} ({min(reliability):.2f})" if reliability else ""
        lines.append(f"| {student} | {told} | {lowest} | {' | '.join(shares)} |")
    return lines


def _share(styles: dict[str, int]) -> float:
    return styles.get("steps", 0) / max(1, sum(styles.values()))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("align", "cross", "siblings", "curve", "tables"), default="tables")
    parser.add_argument("--models", type=Path, default=Path("build/notations"), help="folder LINEAGE/NOTATION-student, 0/notation-teacher")
    parser.add_argument("--students", nargs="*", default=["steps-1", "before-1", "steps-2", "before-2"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2, 3, 4, 5])
    parser.add_argument("--sizes", nargs="*", type=int, default=list(CURVE))
    parser.add_argument("--test-seed", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], help="NAME=NUMBER, other settings; for tuning")
    parser.add_argument("--out", type=Path, default=Path("build/notations_experiment"))
    options = parser.parse_args(arguments)
    options.settings = SETTINGS | {
        name: float(value) if "." in value or "e" in value else int(value) for name, value in (s.split("=") for s in options.set)
    }
    os.environ.setdefault("TUTELAGE_CACHE", str(options.out / "cache.sqlite"))
    book = Book(options.out / "rows.jsonl")
    if options.part != "tables":
        {"align": align, "cross": cross, "siblings": siblings, "curve": curve}[options.part](options, book)
    print(tables(book))


if __name__ == "__main__":
    main()
