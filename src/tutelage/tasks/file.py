"""A task from the user's own file: `file:PATH` for JSONL, JSON lists, CSV, TSV and Parquet.

Options, all optional:
  question, answer, skill, choices, rationale, id
        columns; `question` and `answer` by default, an `id` column is checked for repeats where present
  kind  reasoning (default), classification (column `label`), preference (columns prompt, chosen, rejected)
  split  column with the names of splits; a column called `split` is used unasked
  train, validation, test
        further files; PATH is then the training file. PATH may also be a folder that holds train.*, validation.*, test.*
  seed_size, train_size, validation_size, test_size, split_seed
        sizes; splits that are not given are dealt out of the training rows by a hash of split_seed and question
  verifier  exact, choice, numeric or maths (expressions); detected (never maths) where it is not given, and told in `Task.options`
  case, tolerance  of exact (`yes` or `no`) and numeric
  max_malformed  share of unusable rows above which nothing is read (0.05)
  description, licence  one sentence for prompts; whose data these are

A question that stands in two splits stays in the test split (then validation, then seed) and leaves the others; the count is in
`Task.dropped`. The same happens to repeats inside a split.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tutelage.errors import DataError, SettingsError
from tutelage.hashing import content_id
from tutelage.records import Problem
from tutelage.rows import SUFFIXES, Row, read_rows
from tutelage.tasks.columns import KINDS, Columns, Mapped, map_rows, stop_above
from tutelage.tasks.options import Options
from tutelage.tasks.splits import deal, prove_disjoint, require_rows, thin, without_repeats
from tutelage.tasks.task import Task, Verify
from tutelage.verify import verifier
from tutelage.verify.exact import plain
from tutelage.verify.numeric import parse_number

VERSION = "1"

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation", "development": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
    "seed": "seed", "seeds": "seed",
}  # fmt: skip
"""What a split column or a file may be called."""

VERIFIERS = ("exact", "choice", "numeric", "maths")
MAX_LABELS = 200
"""More different answers are not taken for labels unasked."""
ROWS_PER_LABEL = 5
"""Fewer rows per different answer are not taken for labels unasked."""
LABELS_TOLD = 60
"""So many labels are listed in the task's description; with more, only their number is."""
_NUMBERLIKE = re.compile(r"\s*[-+−]?\s*[$£€¥₹]?\s*[-+−]?[.]?\d")
LEAST = {"seed": 2, "validation": 2, "test": 2}


def names() -> tuple[str, ...]:
    return ("file:PATH",)


def load(name: str, options: Mapping[str, Any]) -> Task:
    path = name.removeprefix("file:")
    if not path:
        raise SettingsError("task 'file:' names no file", got=name, fix="write file:PATH, for example file:questions.jsonl")
    chosen = Options(name, options)
    sources = _sources(Path(path), {split: chosen.text(split) for split in ("train", "validation", "test")})
    first = _first_rows(next(iter(sources.values())))
    columns = read_columns(chosen, present=first)
    limit = chosen.share("max_malformed", 0.05)
    sizes = {split: chosen.whole(f"{split}_size") for split in ("seed", "train", "validation", "test")}
    split_seed = chosen.whole("split_seed", 0) or 0
    wanted = read_check(chosen, default="" if columns.kind == "reasoning" else "choice")
    description, licence = chosen.text("description"), chosen.text("licence", "unknown") or "unknown"
    chosen.done()

    mapped = {split: map_rows(read_rows(file), columns, path=file, split=split) for split, file in sources.items()}
    stop_above(mapped.values(), limit, path=Path(path))
    given = _given_splits(mapped, columns)
    return build(
        name, given, options=options, sizes=sizes, split_seed=split_seed, check=wanted, description=description, licence=licence,
        mapped=tuple(mapped.values()), kind=columns.kind,
    )  # fmt: skip


def read_columns(chosen: Options, *, present: Sequence[str]) -> Columns:
    """The column options. Columns that nobody named but that mean something by name are used where they are there: `id`."""
    kind = chosen.one_of("kind", KINDS, "reasoning") or "reasoning"
    split = chosen.text("split")
    return Columns(
        kind=kind,
        question=chosen.text("question", "prompt" if kind == "preference" and "prompt" in present else "question") or "",
        answer=chosen.text("answer", "label" if kind == "classification" and "label" in present else "answer") or "",
        skill=chosen.text("skill"),
        split=split if split is not None else ("split" if "split" in present else None),
        choices=chosen.text("choices"),
        rationale=chosen.text("rationale"),
        chosen=chosen.text("chosen", "chosen") or "",
        rejected=chosen.text("rejected", "rejected") or "",
        id=chosen.text("id", "id" if "id" in present else None),
    )


def read_check(chosen: Options, *, default: str = "") -> tuple[str, dict[str, Any]]:
    """Name of the verifier (empty: to be detected) and its options."""
    named = chosen.one_of("verifier", VERIFIERS, default or None)
    tolerance = chosen.share("tolerance", 0.0)
    case = chosen.one_of("case", ("yes", "no"), "no") == "yes"
    extra: dict[str, Any] = {}
    if case:
        extra["case"] = True
    if tolerance:
        extra["tolerance"] = tolerance
    return named or "", extra


def build(
    name: str,
    given: Mapping[str, Sequence[Problem]],
    *,
    options: Mapping[str, Any],
    sizes: Mapping[str, int | None],
    split_seed: int,
    check: tuple[str, dict[str, Any]],
    description: str | None,
    licence: str,
    mapped: Sequence[Mapped],
    kind: str,
) -> Task:
    """The task from problems in given splits: repeats removed, missing splits dealt out of the training side, verifier settled."""
    unique, dropped = without_repeats(given)
    splits = _dealt(unique, sizes, split_seed)
    prove_disjoint(splits)
    require_rows(splits, LEAST, name=name, fix="give more rows, or set seed_size, validation_size and test_size")
    bad = [row for one in mapped for row in one.bad]
    if bad:
        dropped = {"malformed": len(bad), **dropped}
    everything = [p for split in ("seed", "train", "validation", "test") for p in splits[split]]
    check_name = check[0] or _detected(everything, kind)
    labels = _labels(everything) if check_name == "choice" and not any(p.choices for p in everything) else ()
    verify = _verify(check_name, check[1] | ({"choices": labels} if labels else {}))
    _gold_passes(everything, verify, check_name, name)
    told = {**options, "verifier": check_name} | ({} if check[0] else {"verifier_detected": True})
    return Task(
        name=name,
        version=f"{VERSION}+{content_id([[p.id for p in splits[s]] for s in ('seed', 'train', 'validation', 'test')])[3:15]}",
        licence=licence,
        chance=_chance(splits["test"], check_name, labels),
        description=_described(description, kind, check_name, labels),
        verify=verify,
        labels=labels,
        dropped=dropped,
        malformed=tuple(map(str, bad[:1000])),
        options=told,
        seed=splits["seed"],
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
    )


def _sources(path: Path, named: Mapping[str, str | None]) -> dict[str, Path]:
    """Split to file; the key `` stands for a file whose rows are not divided yet."""
    further = {split: Path(file) for split, file in named.items() if file is not None}
    if path.is_dir():
        found = {}
        for file in sorted(path.iterdir()):
            split = SPLIT_NAMES.get(file.stem.lower())
            if split and file.suffix.lower() in SUFFIXES:
                if split in found:
                    raise DataError(
                        f"folder '{path}' has two files for the {split} split", got=f"{found[split].name}, {file.name}", fix="remove one"
                    )
                found[split] = file
        found |= further
        if "train" not in found:
            raise DataError(
                f"folder '{path}' holds no train file",
                got=", ".join(sorted(p.name for p in path.iterdir())[:20]),
                fix="name the file itself",
            )
        return found
    if "train" in further:
        if path.exists() and path.resolve() != further["train"].resolve():
            raise SettingsError("two training files are named", got=f"{path} and {further['train']}", fix="leave out the option train")
        return further
    return {"train" if further else "": path, **further}


def _first_rows(path: Path) -> tuple[str, ...]:
    """Columns of the first readable rows, to see what is there before the options are read."""
    seen: dict[str, None] = {}
    for count, row in enumerate(read_rows(path)):
        if isinstance(row, Row):
            seen.update(dict.fromkeys(row.values))
        if count >= 20:
            break
    return tuple(seen)


def _given_splits(mapped: Mapping[str, Mapped], columns: Columns) -> dict[str, list[Problem]]:
    given: dict[str, list[Problem]] = {}
    for split, one in mapped.items():
        for problem, value in one.problems:
            if split or value is None:
                given.setdefault(split or "train", []).append(problem)
            elif value.lower() in SPLIT_NAMES:
                given.setdefault(SPLIT_NAMES[value.lower()], []).append(problem)
            else:
                where = problem.origin.step if problem.origin else ""
                raise DataError(
                    f"column '{columns.split}' names an unknown split",
                    got=f"'{value[:60]}' ({where})",
                    fix=f"use {', '.join(sorted(SPLIT_NAMES))}, or set split to another column",
                )
    if columns.split is not None and "train" not in given and not any(mapped):
        raise DataError(
            f"column '{columns.split}' gives no row to the train split", got=", ".join(sorted(given)), fix="seeds are drawn from train"
        )
    return given


def _dealt(given: Mapping[str, Sequence[Problem]], sizes: Mapping[str, int | None], seed: int) -> dict[str, tuple[Problem, ...]]:
    """All four splits. What was given stays as it is (thinned where a size says so); what was not is dealt out of train, skill by skill."""
    pool = given.get("train", ())
    skills: dict[str, list[Problem]] = {}
    for problem in pool:
        skills.setdefault(problem.skill, []).append(problem)
    missing = [split for split in ("test", "validation", "seed") if split not in given]
    parts: dict[str, list[Problem]] = {split: list(given.get(split, ())) for split in ("seed", "train", "validation", "test")}
    parts["train"] = []
    for rows in skills.values():
        wanted = {split: _share(split, sizes.get(split), len(rows), len(pool), len(skills)) for split in missing}
        for split, dealt in deal(rows, wanted, rest="train", seed=seed).items():
            parts[split] += dealt
    order = {id(problem): i for i, problem in enumerate(pool)}
    for split in (*missing, "train"):
        parts[split].sort(key=lambda problem: order[id(problem)])
    return {split: thin(rows, sizes.get(split), seed=seed) for split, rows in parts.items()}


def _share(split: str, size: int | None, rows: int, total: int, skills: int) -> int:
    """How many of one skill's rows go to a split that was not given: a fifth to test, a fifth to validation, 32 seeds over all skills."""
    if size is not None:
        return -(-size * rows // total)
    if split == "seed":
        return min(max(3, 32 // skills), max(1, rows // 5))
    return max(1, rows // 5) if rows >= 5 else 0


def _detected(problems: Sequence[Problem], kind: str) -> str:
    if any(p.choices for p in problems) or kind != "reasoning":
        return "choice"
    answers = [p.answer or "" for p in problems]
    if all(_is_number(answer) for answer in answers):
        return "numeric"
    distinct = {plain(answer) for answer in answers}
    return "choice" if 2 <= len(distinct) <= MAX_LABELS and len(answers) >= ROWS_PER_LABEL * len(distinct) else "exact"


def _is_number(answer: str) -> bool:
    """A number to begin with, at most two words of unit after it, nothing to compute."""
    return bool(_NUMBERLIKE.match(answer)) and len(answer.split()) <= 3 and "(" not in answer and parse_number(answer) is not None


def _labels(problems: Sequence[Problem]) -> tuple[str, ...]:
    """Every answer once, sorted; spellings that differ in case only are one label."""
    found: dict[str, str] = {}
    for problem in problems:
        found.setdefault(plain(problem.answer or ""), problem.answer or "")
    return tuple(found[key] for key in sorted(found))


def _verify(name: str, extra: Mapping[str, Any]) -> Verify:
    accepted = {"exact": ("case",), "numeric": ("tolerance",), "choice": ("choices",), "maths": ()}[name]
    refused = [option for option in extra if option not in accepted]
    if refused:
        raise SettingsError(
            f"verifier '{name}' has no option '{refused[0]}'", got=refused[0], fix=f"its options: {', '.join(accepted) or 'none'}"
        )
    return partial(verifier(name), **extra) if extra else verifier(name)


def _gold_passes(problems: Sequence[Problem], verify: Verify, check: str, name: str) -> None:
    """A verifier that refuses the file's own answers is the wrong one."""
    failing = [p for p in problems if not verify(p, f"<ans>{p.answer}</ans>").right]
    if failing:
        where = failing[0].origin.step if failing[0].origin else ""
        raise DataError(
            f"verifier '{check}' does not accept {len(failing)} of {len(problems)} answers of task '{name}'",
            got=f"'{(failing[0].answer or '')[:80]}' ({where})",
            fix="choose another verifier (exact, choice, numeric, maths) or repair the answers",
        )


def _chance(problems: Sequence[Problem], check: str, labels: tuple[str, ...]) -> float | None:
    if check != "choice":
        return None
    if labels:
        return 1 / len(labels)
    return sum(1 / len(p.choices) for p in problems if p.choices) / max(len(problems), 1)


def _described(description: str | None, kind: str, check: str, labels: tuple[str, ...]) -> str:
    said = description or {"classification": "Classify the text.", "preference": "Say which of two replies is better."}.get(
        kind, "Answer the question."
    )
    if labels and kind != "preference":
        said += (
            f" The answer is one of: {', '.join(labels)}." if len(labels) <= LABELS_TOLD else f" The answer is one of {len(labels)} labels."
        )
    return said + (" The answer is one number." if check == "numeric" and description is None else "")
