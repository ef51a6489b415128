"""What a run had to leave out, in words: rows of the user's file, techniques that a task lacks, requests that no model could answer,
records too long to train on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tutelage.report.read import RunFolder
from tutelage.report.text import finite, number, plain


def rows_left_out(run: RunFolder) -> str:
    """Rows of the task's file that are in no split, by reason; empty where all were used."""
    dropped = _counts(run.task.get("dropped"))
    if not dropped:
        return ""
    reasons = "; ".join(f"{number(count)} {_reason(why)}" for why, count in dropped.items())
    said = f"Of the task's rows {number(sum(dropped.values()))} were left out: {reasons}."
    malformed = [plain(line, longest=120) for line in run.task.get("malformed") or ()]
    return said + (f" The first malformed one: {malformed[0]}." if malformed else "")


def work_left_out(run: RunFolder) -> list[str]:
    """A sentence for every step in which requests failed for good, and for every kind of training that left records out or cut them."""
    return [*_fewer_techniques(run), *_unanswered(run), *_untrained(run)]


def _fewer_techniques(run: RunFolder) -> Iterator[str]:
    for found in (r.note("techniques") for r in run.runs.values()):
        if isinstance(found, Mapping):
            used, wanted = found.get("used"), found.get("wanted")
            yield f"The task knows {used} ways to write a rationale, so {used} were drafted per question instead of {wanted}."
            return


def _unanswered(run: RunFolder) -> Iterator[str]:
    found: dict[tuple[str, str], list[Any]] = {}
    for event in (e for r in run.runs.values() for e in r.of_kind("unanswered")):
        held = found.setdefault((str(event.get("role")), str(event.get("step"))), [0, 0, str(event.get("example", ""))])
        held[0] += int(finite(event.get("count")) or 0)
        held[1] += int(finite(event.get("asked")) or 0)
    for (role, step), (count, asked, example) in found.items():
        yield f"The {role} could not answer {number(count)} of {number(asked)} requests (step {step}), for example: {plain(example)}."


def _untrained(run: RunFolder) -> Iterator[str]:
    found: dict[tuple[str, str], list[int]] = {}
    for event in (e for r in run.runs.values() for e in r.of_kind("fit")):
        for why, count in _counts(event.get("dropped")).items():
            held = found.setdefault((str(event.get("role")), why), [0, 0])
            held[0] += count
            held[1] += int(finite(event.get("examples")) or 0)
    for (role, why), (count, given) in found.items():
        # Of a pair either side may be the one that is too long, so rows are counted and not records.
        outcome = "" if why.startswith("truncated") else ", left out"
        yield f"Training the {role}, given {number(given)} examples or pairs: {number(count)} texts {plain(why)}{outcome}."


def _counts(dropped: object) -> dict[str, int]:
    counted = dropped.items() if isinstance(dropped, Mapping) else ()
    return {str(why): count for why, n in counted if (count := int(finite(n) or 0))}


def _reason(why: str) -> str:
    """`train: stands in test too` as `in train that stand in test too`."""
    split, sign, rest = why.partition(": ")
    if not sign:
        return why
    return f"in {split} ({rest})"
