"""The other studies of ARTE's card on the bundled models: what else the preference can be used for, and how far it carries.

    python benchmarks/arte_studies.py selection     # which rationale of a drafted question: random, best liked, one technique, aligned
    python benchmarks/arte_studies.py skills        # a teacher aligned on one skill teaches others
    python benchmarks/arte_studies.py students      # a teacher aligned to one student teaches others (after benchmarks/lineages.py run)
    python benchmarks/arte_studies.py rounds        # a second round of ARTE
    python benchmarks/arte_studies.py probes        # whether few probes name the same best and worst rationale as all
    python benchmarks/arte_studies.py tables        # tables of what is there (the default)

As declared in docs/experiments/arte-studies.md. Everything is the recipe `arte` through the public door; where one study needs what
another run aligned, that run's weights are the next one's teacher.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tutelage
from _chained_runs import Book, accuracies, mean, note, over, records, trained
from tutelage.seeds import stream

TEST_SEED = 4
UNALIGNED = "original_teacher"
TEACHER, STUDENT = "bundled:teacher", "bundled:student"
SELECTION = ("random_draft", "most_preferred", "one_technique", "rationale_only", UNALIGNED)
DRAFTED = 30
"""Examples per skill of the selection study: as many as questions are drafted, so that no draft is repeated."""
HOME, AWAY = "msum", ("track", "nav", "shop")
SUBSETS = (4, 8, 12)
AGREEMENT_DRAFTS = 10


def _run(out: Path, arms: Sequence[str], seed: int, *, task: str = "folds/*", teacher: str = TEACHER, student: str = STUDENT,
         pool: Sequence[str] = (), test_seed: int = TEST_SEED, **settings: Any) -> Any:  # fmt: skip
    return tutelage.run(
        "arte", task=task, task_options={"test_seed": test_seed}, teacher=teacher, student=student, pool=pool, arms=arms, seed=seed,
        preset="laptop", settings=settings, out=out,
    )  # fmt: skip


def selection(options: argparse.Namespace, book: Book) -> None:
    for seed in options.seeds:
        if book.has(part="selection", seed=seed, arm=SELECTION[-1]):
            continue
        out = options.out / "runs" / f"selection-{seed}"
        _run(out, SELECTION, seed, tailored=DRAFTED)
        for arm in SELECTION:
            book.write(part="selection", seed=seed, arm=arm, styles=note(out, seed, arm, "styles_written"), **accuracies(out, seed, arm))


def skills(options: argparse.Namespace, book: Book) -> None:
    """Aligned on `HOME` alone, the teacher teaches each skill of `AWAY`."""
    for seed in options.seeds:
        home = options.out / "runs" / f"home-{seed}"
        for skill in AWAY:
            if book.has(part="skills", seed=seed, skill=skill):
                continue
            _run(home, ["arte"], seed, task=f"folds/{HOME}", drafts=60)
            away, plain = (options.out / "runs" / f"{name}-{skill}-{seed}" for name in ("away", "plain"))
            _run(away, [UNALIGNED], seed, task=f"folds/{skill}", teacher=trained(home, seed, "arte", "align"))
            _run(plain, [UNALIGNED, "arte"], seed, task=f"folds/{skill}", drafts=60)
            for name, run, arm in (
                ("aligned elsewhere", away, UNALIGNED),
                ("unaligned", plain, UNALIGNED),
                ("aligned here", plain, "arte"),
            ):
                why = None if accuracies(run, seed, arm) else "refused"
                book.write(
                    part="skills", seed=seed, skill=skill, teacher=name, refused=why, styles=note(run, seed, arm, "styles_written"),
                    **accuracies(run, seed, arm),
                )  # fmt: skip


def students(options: argparse.Namespace, book: Book) -> None:
    """The teacher aligned to one lineage teaches the others; its own and the unaligned teacher's figures: benchmarks/lineages.py."""
    lineages = sorted(p.name for p in options.lineages.iterdir() if (p / "student" / "model.safetensors").exists())
    for seed in options.lineage_seeds:
        for writer in lineages:
            for reader in lineages:
                if writer == reader or book.has(part="students", seed=seed, aligned_to=writer, student=reader):
                    continue
                source = options.lineages_out / "runs" / writer
                out = options.out / "runs" / f"students-{writer}-{reader}-{seed}"
                teacher = trained(source, seed, "arte", "align")
                _run(
                    out, [UNALIGNED], seed, teacher=teacher, student=f"hf:{options.lineages / reader / 'student'}", test_seed=2,
                    shots=[0, 1, 3],
                )  # fmt: skip
                book.write(part="students", seed=seed, aligned_to=writer, student=reader, **accuracies(out, seed, UNALIGNED))


def rounds(options: argparse.Namespace, book: Book) -> None:
    """Round one, then once more: with another alignment, without one, and with round one's teacher and twice the examples at once."""
    for seed in options.seeds:
        if book.has(part="rounds", seed=seed, what="round 2, aligned anew"):
            continue
        first = options.out / "runs" / f"round1-{seed}"
        _run(first, ["arte", UNALIGNED], seed)
        teacher, taught = (trained(first, seed, "arte", step) for step in ("align", "teach"))
        second = options.out / "runs" / f"round2-{seed}"
        # Another seed would change the questions too; the recipe's streams are the same, the teacher and the student are not.
        done = _run(second, ["arte", UNALIGNED], seed, teacher=teacher, student=taught)
        forced = options.out / "runs" / f"round2-anyway-{seed}"
        refused = done.refused.get(f"{seed}/arte")
        if refused:
            _run(forced, ["arte"], seed, teacher=teacher, student=taught, align_anyway=True)
        double = options.out / "runs" / f"double-{seed}"
        _run(double, [UNALIGNED], seed, teacher=teacher, tailored=180)
        fresh = options.out / "runs" / f"realigned-{seed}"
        again = _run(fresh, ["arte"], seed, teacher=teacher)
        for what, run, arm in (
            ("round 1", first, "arte"),
            ("unaligned", first, UNALIGNED),
            ("round 1 with twice the examples", double, UNALIGNED),
            ("round 2 for the untouched student", fresh, "arte"),
            ("round 2 without a second alignment", second, UNALIGNED),
            ("round 2, aligned anew", forced if refused else second, "arte"),
        ):
            facts = note(run, seed, arm, "reliability") or {}
            book.write(
                part="rounds", seed=seed, what=what, reliability=facts.get("within_skill", {}).get("corrected"),
                refused=refused if what.endswith("anew") else again.refused.get(f"{seed}/arte") if run == fresh else None,
                styles=note(run, seed, arm, "styles_written"), **accuracies(run, seed, arm),
            )  # fmt: skip


def probes(options: argparse.Namespace, book: Book) -> None:
    """Best and worst rationale of a question by a few probes against all 40 validation problems of its skill."""
    for seed in options.seeds:
        if book.has(part="probes", seed=seed):
            continue
        whole = options.out / "runs" / f"probes-all-{seed}"
        few = {n: options.out / "runs" / f"probes-{n}-{seed}" for n in SUBSETS}
        arm = "most_preferred"
        shared = {"drafts": AGREEMENT_DRAFTS, "tailored": AGREEMENT_DRAFTS, "shots": [0], "align_anyway": True}
        _run(whole, [arm], seed, probes=40, **shared)
        order = {p.id: (p.skill, i) for i, p in enumerate(records(whole, seed, arm, "probes"))}
        first = {skill: min(i for s, i in order.values() if s == skill) for skill, _ in order.values()}
        solutions = {x.id: x for x in records(whole, seed, arm, "draft_solutions")}
        parts = {f.item: f.parts for f in records(whole, seed, arm, "liked")}
        for n, run in few.items():
            _run(run, [arm], seed, probes=n, **shared)
            chosen: dict[str, list[int]] = {}
            for p in records(run, seed, arm, "probes"):
                skill, place = order[p.id]
                chosen.setdefault(skill, []).append(place - first[skill])
            lots = {skill: stream(seed, "subset", skill, str(n)).sample(range(40), n) for skill in chosen}
            for how, subset in (("discriminating", chosen), ("random", lots)):
                book.write(part="probes", seed=seed, probes=n, chosen=how, **_agreement(solutions, parts, subset))


def _agreement(solutions: dict[str, Any], parts: dict[str, Sequence[float]], subset: dict[str, list[int]]) -> dict[str, float]:
    """Share of questions whose best (worst) rationale by the subset is among the best (worst) by all probes. A tie in the subset
    counts as the share of the tied that are."""
    questions: dict[str, list[str]] = {}
    for x in solutions.values():
        questions.setdefault(x.problem.id, []).append(x.id)
    shares: dict[str, list[float]] = {"best": [], "worst": []}
    for ids in questions.values():
        skill = solutions[ids[0]].problem.skill
        full = {i: mean(parts[i]) for i in ids}
        few = {i: mean([parts[i][k] for k in subset[skill]]) for i in ids}
        if min(full.values()) == max(full.values()):
            continue
        for name, extreme in (("best", max), ("worst", min)):
            tied = [i for i in ids if few[i] == extreme(few.values())]
            shares[name].append(mean([float(full[i] == extreme(full.values())) for i in tied]))
    return {name: mean(values) for name, values in shares.items()} | {"questions": len(shares["best"])}


# --- tables -----------------------------------------------------------------------------------------------------------------------


def _over_seeds(rows: Sequence[dict[str, Any]], metric: str, base: Sequence[dict[str, Any]] | None = None) -> str:
    """Mean over rows of a seed, then t over seeds; of differences to the base's mean under the same seed where there is one."""
    per_seed: dict[int, list[float]] = {}
    for row in rows:
        if metric in row:
            per_seed.setdefault(row["seed"], []).append(row[metric])
    values = {seed: mean(v) for seed, v in per_seed.items()}
    if base is None:
        return over(list(values.values()))
    others: dict[int, list[float]] = {}
    for row in base:
        if metric in row:
            others.setdefault(row["seed"], []).append(row[metric])
    return over([v - mean(others[seed]) for seed, v in values.items() if seed in others], signed=True)


def tables(book: Book, lineages: Book) -> str:
    lines: list[str] = []

    def table(title: str, groups: dict[str, list[dict[str, Any]]], base: str, metrics: Sequence[str] = ("shots0", "shots1")) -> None:
        names = {"shots0": "zero-shot", "shots1": "one-shot", "shots3": "three-shot"}
        heads = [names.get(m, m) for m in metrics]
        lines.extend(["", f"| {title} | n | {' | '.join(heads)} | zero-shot minus {base} |", "|---|---|" + "---|" * (len(heads) + 1)])
        for name, rows in groups.items():
            cells = " | ".join(_over_seeds(rows, m) for m in metrics)
            difference = "" if name == base else _over_seeds(rows, metrics[0], groups[base])
            lines.append(f"| {name} | {sum(metrics[0] in r for r in rows)} | {cells} | {difference} |")

    found = book.find(part="selection")
    if found:
        table("data", {arm: [r for r in found if r["arm"] == arm] for arm in SELECTION}, UNALIGNED)
    found = book.find(part="skills")
    if found:
        names = list(dict.fromkeys(r["teacher"] for r in found))
        table("teacher, all three skills", {n: [r for r in found if r["teacher"] == n] for n in names}, "unaligned")
        for skill in AWAY:
            table(f"teacher, {skill}", {n: [r for r in found if (r["teacher"], r["skill"]) == (n, skill)] for n in names}, "unaligned")
    found = book.find(part="students")
    if found:
        seeds = {r["seed"] for r in found}
        groups = {
            "aligned to another student": found,
            "aligned to this student": [r for r in lineages.find(arm="arte") if r["seed"] in seeds],
            "unaligned": [r for r in lineages.find(arm=UNALIGNED) if r["seed"] in seeds],
        }
        table("teacher", groups, "unaligned", ("shots0", "shots1", "shots3"))
        lines.extend(["", "| student | aligned to another | aligned to it | unaligned |", "|---|---|---|---|"])
        for student in sorted({r["student"] for r in found}):
            cells = [mean([r["shots0"] for r in found if r["student"] == student])]
            cells += [mean([r["shots0"] for r in groups[g] if r["lineage"] == student]) for g in ("aligned to this student", "unaligned")]
            lines.append(f"| {student} | {' | '.join(f'{c:.3f}' for c in cells)} |")
    found = book.find(part="rounds")
    if found:
        table("data", {w: [r for r in found if r["what"] == w] for w in dict.fromkeys(r["what"] for r in found)}, "round 1")
        for row in found:
            if row["refused"] or row["what"].startswith("round 2"):
                lines.append(f"- seed {row['seed']}, {row['what']}: reliability {row['reliability']}, refused: {bool(row['refused'])}")
    found = book.find(part="probes")
    if found:
        lines.extend(["", "| probes per skill | chosen | same best rationale | same worst rationale |", "|---|---|---|---|"])
        for n in SUBSETS:
            for how in ("discriminating", "random"):
                rows = [r for r in found if (r["probes"], r["chosen"]) == (n, how)]
                lines.append(f"| {n} of 40 | {how} | {_over_seeds(rows, 'best')} | {_over_seeds(rows, 'worst')} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    studies = {"selection": selection, "skills": skills, "students": students, "rounds": rounds, "probes": probes}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=(*studies, "tables"), default=["tables"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--lineage-seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--lineages", type=Path, default=Path("build/lineages"))
    parser.add_argument("--lineages-out", type=Path, default=Path("build/lineages_experiment"), help="--out of benchmarks/lineages.py")
    parser.add_argument("--out", type=Path, default=Path("build/arte_studies"))
    options = parser.parse_args(arguments)
    os.environ.setdefault("TUTELAGE_CACHE", str(options.out / "cache.sqlite"))
    book = Book(options.out / "rows.jsonl")
    for part in options.parts:
        if part != "tables":
            studies[part](options, book)
    print(tables(book, Book(options.lineages_out / "rows.jsonl")))


if __name__ == "__main__":
    main()
