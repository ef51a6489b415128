"""A task from a data set of the Hugging Face hub, or a local folder in its layout: `hub:OWNER/NAME`, read by `datasets`.

Options: those of `file:` (columns, kind, sizes, verifier, description), and
  config, revision         which configuration, and which commit (the one that was read is part of the task's version)
  train, validation, test  names of the published splits that serve as these (by default those of the same or a related name)
  licence                  where the data set's card does not say

Data sets that bring code of their own are not run; `datasets` refuses them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tutelage.errors import DataError, OutsideError, SettingsError, did_you_mean, missing_extra
from tutelage.records import Problem
from tutelage.rows import Row
from tutelage.tasks.columns import Mapped, map_rows, stop_above
from tutelage.tasks.file import SPLIT_NAMES, build, read_check, read_columns
from tutelage.tasks.options import Options
from tutelage.tasks.task import Task

ROLES = ("train", "validation", "test")


def names() -> tuple[str, ...]:
    return ("hub:ID",)


def load(name: str, options: Mapping[str, Any]) -> Task:
    chosen = Options(name, options)
    place = name.removeprefix("hub:")
    if not place:
        raise SettingsError("task 'hub:' names no data set", got=name, fix="write hub:OWNER/NAME")
    config, revision = chosen.text("config"), chosen.text("revision")
    named = {role: chosen.text(role) for role in ROLES}
    published, told = _opened(place, config, revision)
    used = _roles(place, list(published), named)
    present = tuple(published[next(iter(used.values()))].column_names)
    columns = read_columns(chosen, present=tuple(c for c in present if c != "split"))
    limit = chosen.share("max_malformed", 0.05)
    sizes = {split: chosen.whole(f"{split}_size") for split in ("seed", "train", "validation", "test")}
    split_seed = chosen.whole("split_seed", 0) or 0
    check = read_check(chosen, default="" if columns.kind == "reasoning" else "choice")
    description, licence = chosen.text("description"), chosen.text("licence") or told
    chosen.done()

    where = Path(place)
    mapped: dict[str, Mapped] = {role: map_rows(_rows(published[split]), columns, path=where, split=role) for role, split in used.items()}
    stop_above(mapped.values(), limit, path=where)
    given: dict[str, list[Problem]] = {role: [problem for problem, _ in one.problems] for role, one in mapped.items()}
    return build(
        name,
        given,
        options=options,
        sizes=sizes,
        split_seed=split_seed,
        check=check,
        description=description,
        licence=licence,
        mapped=tuple(mapped.values()),
        kind=columns.kind,
    )


def _opened(place: str, config: str | None, revision: str | None) -> tuple[Any, str]:
    """All splits, and the licence that the card states."""
    try:
        import datasets
    except ModuleNotFoundError as missing:
        raise missing_extra("datasets", "data") from missing
    try:
        published = datasets.load_dataset(place, config, revision=revision)
    except (ConnectionError, TimeoutError) as failed:
        raise OutsideError(
            f"data set '{place}' could not be fetched", got=str(failed)[:300], fix="check the connection, or use a local copy"
        ) from failed
    except (ValueError, FileNotFoundError, OSError, RuntimeError) as failed:
        raise DataError(
            f"data set '{place}' could not be read", got=f"{type(failed).__name__}: {failed}"[:400], fix="check id, config and revision"
        ) from failed
    first = published[next(iter(published))]
    return published, (first.info.license or "unknown").strip() or "unknown"


def _roles(place: str, splits: list[str], named: Mapping[str, str | None]) -> dict[str, str]:
    """Our split to theirs; without any the first split is dealt out."""
    used: dict[str, str] = {}
    for role, split in named.items():
        if split is not None and split not in splits:
            raise DataError(f"data set '{place}' has no split '{split}'", got=", ".join(splits), fix=did_you_mean(split, splits))
        if split is not None:
            used[role] = split
    for split in splits:
        role = SPLIT_NAMES.get(split.lower())
        if role in ROLES and role not in used and split not in used.values():
            used[role] = split
    if "train" not in used:
        left = [split for split in splits if split not in used.values()]
        if not left:
            raise DataError(
                f"data set '{place}' has no split to draw seeds from", got=", ".join(splits), fix="name one by the option train"
            )
        used["train"] = left[0]
    return used


def _rows(published: Any) -> Iterator[Row]:
    """Rows with class labels written as their names."""
    labels = {name: feature.names for name, feature in published.features.items() if hasattr(feature, "names")}
    for number, values in enumerate(published, start=1):
        named = {
            name: labels[name][value] if name in labels and isinstance(value, int) and 0 <= value < len(labels[name]) else value
            for name, value in values.items()
        }
        yield Row(line=number, values=named)
