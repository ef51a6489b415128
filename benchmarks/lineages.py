"""ARTE on freshly raised students: the contrast of the bundled pair, over students that differ in start weights and documents.

    for n in 1 2 3; do python scripts/pretrain_bundled.py --which student --lineage $n --out build/lineages/$n; done
    python benchmarks/lineages.py run --lineages build/lineages      # as declared in docs/experiments/lineages.md
    python benchmarks/lineages.py tables                             # tables of what is there (the default)

The unit of the intervals is the lineage: per lineage the mean over seeds, then Student's t over lineages.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import tutelage
from _chained_runs import Book, accuracies, mean, note, over, records
from tutelage.tasks.folds_world import parse_question

ARMS = ("untouched", "original_teacher", "question_only", "arte", "verified_sampling", "shuffled")
SETTINGS = {"shots": [0, 1, 3]}
TASK_OPTIONS = {"test_seed": 2}
SHOTS = ("shots0", "shots1", "shots3")


def run(options: argparse.Namespace, book: Book) -> None:
    for folder in sorted(p for p in options.lineages.iterdir() if (p / "student" / "model.safetensors").exists()):
        student, lineage = folder / "student", folder.name
        pool = [f"hf:{p}" for p in sorted((student / "checkpoints").glob("step-*"))]
        out = options.out / "runs" / lineage
        done = tutelage.run(
            "arte", task="folds/*", task_options=TASK_OPTIONS, teacher="bundled:teacher", student=f"hf:{student}", pool=pool, arms=ARMS,
            seeds=options.seeds, preset="laptop", settings=SETTINGS, jobs=options.jobs, out=out,
        )  # fmt: skip
        for seed in options.seeds:
            for arm in ARMS:
                if book.has(lineage=lineage, seed=seed, arm=arm):
                    continue
                facts = note(out, seed, arm, "reliability") or {}
                row = {"reliability": facts.get("within_skill", {}).get("corrected"), "verdict": facts.get("verdict")}
                why = done.refused.get(f"{seed}/{arm}")
                row |= {"refused": why} if why else accuracies(out, seed, arm)
                lengths = [] if why else [parse_question(e.text) for e in records(out, seed, arm, "tailored_questions")]
                known = [len(q.days) for q in lengths if q is not None]
                book.write(
                    lineage=lineage, seed=seed, arm=arm, styles=note(out, seed, arm, "styles_written"),
                    days=mean(known) if known else None, **row,
                )  # fmt: skip


def by_lineage(book: Book, arm: str, metric: str, against: str | None = None) -> dict[str, float]:
    """Per lineage the mean over seeds of a metric, or of its difference to another arm under the same seed. Where aligning was refused
    there is no accuracy, and the difference is 0."""
    found: dict[str, list[float]] = {}
    for row in book.find(arm=arm):
        if metric not in row:
            if against is not None and row.get("refused"):
                found.setdefault(row["lineage"], []).append(0.0)
            continue
        value = row[metric]
        if against is not None:
            others = [r for r in book.find(arm=against, lineage=row["lineage"], seed=row["seed"]) if metric in r]
            if not others:
                continue
            value -= others[0][metric]
        found.setdefault(row["lineage"], []).append(value)
    return {lineage: mean(values) for lineage, values in found.items()}


def tables(book: Book) -> str:
    lineages = sorted({r["lineage"] for r in book.rows})
    lines = [f"| arm | {' | '.join(f'lineage {n}' for n in lineages)} | zero-shot | one-shot | three-shot |"]
    lines.append("|---|" + "---|" * (len(lineages) + 3))
    for arm in ARMS:
        each = by_lineage(book, arm, "shots0")
        cells = [f"{each[n]:.3f}" if n in each else "refused" for n in lineages]
        lines.append(f"| {arm} | {' | '.join(cells)} | {' | '.join(over(list(by_lineage(book, arm, m).values())) for m in SHOTS)} |")
    lines += ["", "| difference | zero-shot, each lineage | zero-shot | one-shot | three-shot |", "|---|---|---|---|---|"]
    for arm, against in (
        ("arte", "original_teacher"), ("shuffled", "original_teacher"), ("question_only", "original_teacher"),
        ("arte", "verified_sampling"), ("arte", "untouched"),
    ):  # fmt: skip
        values = by_lineage(book, arm, "shots0", against)
        each = ", ".join(f"{v:+.3f}" for v in values.values())
        spread = " | ".join(over(list(by_lineage(book, arm, m, against).values()), signed=True) for m in SHOTS)
        lines.append(f"| {arm} - {against} | {each} | {spread} |")
    lines += [
        "",
        "| lineage | seed | reliability within a skill | verdict | days per question: original, question_only |",
        "|---|---|---|---|---|",
    ]
    for row in book.find(arm="arte"):
        days = [
            r["days"] for a in ("original_teacher", "question_only") for r in book.find(arm=a, lineage=row["lineage"], seed=row["seed"])
        ]
        told = ", ".join(f"{d:.2f}" for d in days if d is not None)
        reliability = "" if row["reliability"] is None else f"{row['reliability']:.2f}"
        lines.append(f"| {row['lineage']} | {row['seed']} | {reliability} | {row['verdict']} | {told} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("run", "tables"), default="tables")
    parser.add_argument("--lineages", type=Path, default=Path("build/lineages"), help="folder of lineages, each with a folder `student`")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("build/lineages_experiment"))
    options = parser.parse_args(arguments)
    os.environ.setdefault("TUTELAGE_CACHE", str(options.out / "cache.sqlite"))
    book = Book(options.out / "rows.jsonl")
    if options.part == "run":
        run(options, book)
    print(tables(book))


if __name__ == "__main__":
    main()
