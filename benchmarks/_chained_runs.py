"""Runs that feed one another: the teacher that one run aligned is the teacher of the next, through the public door alone.

A run leaves weights in its folder, and any folder of weights is a model (`hf:DIR`). So a teacher aligned to one student can teach
another, on other skills, or go through ARTE once more, and nothing of ARTE is written twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tutelage.journal.folder import ArmJournal
from tutelage.measure.intervals import Interval, t_interval
from tutelage.records import Record


class Book:
    """Finished measurements, one JSON line each; what is there is not done again."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def has(self, **key: Any) -> bool:
        return any(all(row.get(k) == v for k, v in key.items()) for row in self.rows)

    def write(self, **row: Any) -> None:
        self.rows.append(row)
        with self._path.open("a") as out:
            out.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)

    def find(self, **key: Any) -> list[dict[str, Any]]:
        return [row for row in self.rows if all(row.get(k) == v for k, v in key.items())]


def journal(run: Path, seed: int, arm: str) -> ArmJournal:
    return ArmJournal(run / "seeds" / str(seed) / arm)


def trained(run: Path, seed: int, arm: str, step: str) -> str:
    """Address of the weights that step `align` or `teach` of an arm left behind."""
    keys = [e["key"] for e in journal(run, seed, arm).events() if e["event"] == "fit" and e["step"] == step]
    if len(keys) != 1:
        raise RuntimeError(f"expected one '{step}' in {run}, seed {seed}, arm {arm}; found {len(keys)}")
    return f"hf:{run / 'fits' / keys[0]}"


def records(run: Path, seed: int, arm: str, name: str) -> list[Any]:
    found: list[Record] = journal(run, seed, arm).records(name)
    return list(found)


def note(run: Path, seed: int, arm: str, name: str) -> Any:
    """The last note of that name, None where there is none."""
    values = [e["value"] for e in journal(run, seed, arm).events() if e["event"] == "note" and e["name"] == name]
    return values[-1] if values else None


def accuracies(run: Path, seed: int, arm: str) -> dict[str, float]:
    """Accuracy by number of shots, as `shots0`, `shots1`, ..."""
    return {f"shots{c.shots}": c.value for c in records(run, seed, arm, "scorecards")}


def told(interval: Interval, *, signed: bool = False) -> str:
    """An interval for a table."""
    form = "+.3f" if signed else ".3f"
    if interval.value is None:
        return ""
    if interval.low is None or interval.high is None:
        return f"{interval.value:{form}} (one value)"
    return f"{interval.value:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def over(values: Sequence[float], *, signed: bool = False) -> str:
    return told(t_interval(values), signed=signed)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
