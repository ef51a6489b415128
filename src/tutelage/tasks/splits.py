"""Dealing problems out into splits, and proving that no question stands in two of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from tutelage.errors import DataError, InternalError
from tutelage.hashing import content_id
from tutelage.records import Origin, Problem
from tutelage.seeds import derive

PRECEDENCE = ("test", "validation", "seed", "train")
"""A question that stands in several splits stays in the first of these: the training side gives way, test rows are never lost."""

_SPACE = re.compile(r"\s+")


def same_question(problem: Problem) -> str:
    """What makes two problems one question: text and options, without regard to white space and Unicode form. Case counts."""
    parts = (problem.text, *problem.choices)
    return content_id([_SPACE.sub(" ", part if part.isascii() else unicodedata.normalize("NFC", part)).strip() for part in parts])


def without_repeats(splits: Mapping[str, Sequence[Problem]]) -> tuple[dict[str, tuple[Problem, ...]], dict[str, int]]:
    """The splits, each question once and in one split only, and how many rows were left out by reason.

    Within a split the first of equal questions stays; where their answers differ the reason says so.
    """
    home: dict[str, tuple[str, str | None]] = {}
    kept: dict[str, tuple[Problem, ...]] = {}
    dropped: dict[str, int] = {}
    for split in sorted(splits, key=PRECEDENCE.index):
        rows: list[Problem] = []
        for problem in splits[split]:
            key = same_question(problem)
            if key not in home:
                home[key] = (split, problem.answer)
                rows.append(problem)
                continue
            first, answer = home[key]
            reason = f"{split}: again in {split}" if first == split else f"{split}: stands in {first} too"
            if answer != problem.answer:
                reason += ", with another answer"
            dropped[reason] = dropped.get(reason, 0) + 1
        kept[split] = tuple(rows)
    return {split: kept[split] for split in splits}, dropped


def prove_disjoint(splits: Mapping[str, Sequence[Problem]]) -> None:
    """Raises where a question stands in two splits. Run on every task at load. (Equal problem ids are equal questions.)"""
    home: dict[str, str] = {}
    for split, problems in splits.items():
        for problem in problems:
            other = home.setdefault(same_question(problem), split)
            if other != split:
                raise InternalError(f"a question stands in the splits '{other}' and '{split}'", got=problem.text[:120])


def deal(problems: Sequence[Problem], sizes: Mapping[str, int], *, rest: str, seed: int) -> dict[str, tuple[Problem, ...]]:
    """`problems` divided into splits of the given sizes, what remains into `rest`.

    Who goes where follows from a hash of seed and question, never from the order of the rows; within a split the order is kept. Where
    the problems do not suffice the sizes shrink in proportion.
    """
    total = sum(sizes.values())
    if total > len(problems):
        sizes = {split: size * len(problems) // total for split, size in sizes.items()}
    drawn = sorted(range(len(problems)), key=lambda i: derive(seed, "split", same_question(problems[i])))
    place: dict[int, str] = {}
    start = 0
    for split, size in sizes.items():
        place.update(dict.fromkeys(drawn[start : start + size], split))
        start += size
    splits: dict[str, list[Problem]] = {split: [] for split in (*sizes, rest)}
    for i, problem in enumerate(problems):
        splits[place.get(i, rest)].append(problem)
    return {split: tuple(rows) for split, rows in splits.items()}


def thin(problems: Sequence[Problem], size: int | None, *, seed: int) -> tuple[Problem, ...]:
    """At most `size` of the problems, chosen by a hash of seed and question, in their order."""
    if size is None or size >= len(problems):
        return tuple(problems)
    drawn = sorted(range(len(problems)), key=lambda i: derive(seed, "thin", same_question(problems[i])))[:size]
    return tuple(problems[i] for i in sorted(drawn))


def at(path: Path, split: str, line: int) -> Origin:
    """Where a problem was read: file, split and line."""
    return Origin(step=f"task {path.name} {split} line {line}".strip())


def require_rows(splits: Mapping[str, Sequence[Problem]], needed: Mapping[str, int], *, name: str, fix: str) -> None:
    """Raises where a split has fewer rows than `needed`."""
    for split, least in needed.items():
        found = len(splits.get(split, ()))
        if found < least:
            raise DataError(
                f"task '{name}' has {found} rows in its {split} split; at least {least} are needed", got=f"{split}: {found} rows", fix=fix
            )
