"""Reading a run folder as it is: finished, running, or cut off. Nothing here writes, and nothing here needs torch.

    run.json                                 what was asked for
    seeds/<seed>/<arm>/events.jsonl          one JSON object a line; the last attempt counts
    seeds/<seed>/<arm>/records/<name>.jsonl  records
    task/<split>.jsonl                       labelled problems that recipes may show (where the run wrote them)
    fits/<key>/                              weights trained here, with fit.json

Torn lines, missing arms and missing files are facts to be shown, not errors; only a folder that is no run at all is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tutelage.errors import DataError, InternalError
from tutelage.journal.folder import read_run_file
from tutelage.records import Record, decode

FINISHED, REFUSED, UNFINISHED, MISSING = "finished", "refused", "unfinished", "not started"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmInfo:
    """What run.json says about one arm."""

    name: str
    summary: str = ""
    control: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRun:
    """One arm under one seed."""

    seed: int
    arm: str
    folder: Path
    state: str
    """`finished`, `refused`, `unfinished` or `not started`."""
    events: tuple[Mapping[str, Any], ...] = ()
    """Of the last attempt."""

    def of_kind(self, kind: str) -> list[Mapping[str, Any]]:
        return [e for e in self.events if e.get("event") == kind]

    def note(self, name: str) -> Any:
        """The last note of that name; None where there is none."""
        found = [e.get("value") for e in self.of_kind("note") if e.get("name") == name]
        return found[-1] if found else None

    @property
    def refusal(self) -> str:
        """Why the arm ended early, in the run's own words; empty where it did not."""
        for event in self.of_kind("refused"):
            said = [event.get(k) for k in ("reason", "message", "got", "fix")]
            return "; ".join(str(s) for s in said if s) or "no reason was recorded"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """Everything about a run except its records, which are read when asked for."""

    path: Path
    about: Mapping[str, Any]
    """run.json as it stands."""
    seeds: tuple[int, ...]
    arms: tuple[ArmInfo, ...]
    runs: Mapping[tuple[int, str], ArmRun]
    """One entry for every (seed, arm) that was asked for, started or not."""

    @property
    def card(self) -> Mapping[str, Any]:
        return _mapping(self.about.get("card"))

    @property
    def task(self) -> Mapping[str, Any]:
        return _mapping(self.about.get("task"))

    @property
    def recipe(self) -> str:
        return str(self.about.get("recipe", "unknown"))

    def of_arm(self, arm: str) -> list[ArmRun]:
        """The arm's runs in the order of the seeds."""
        return [self.runs[seed, arm] for seed in self.seeds]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The records of one file, and how many lines of it could not be read."""

    name: str
    records: tuple[Record, ...]
    damaged: int = 0


def read_run(folder: Path | str) -> RunFolder:
    """The run in `folder`."""
    path = Path(folder)
    about = read_run_file(path)
    if about is None:
        raise DataError(
            f"'{path}' is not a run folder", got=str(path), fix="name a folder that holds a run.json, for example runs/arte-7f3a"
        )
    arms = _arms(about)
    named = {a.name for a in arms}
    found_seeds = {int(p.name) for p in _folders(path / "seeds") if p.name.lstrip("-").isdigit()}
    seeds = tuple(dict.fromkeys([*(int(s) for s in _list(about.get("seeds"))), *sorted(found_seeds)]))
    extra = sorted({p.name for seed in seeds for p in _folders(path / "seeds" / str(seed))} - named)
    arms += tuple(ArmInfo(name=name) for name in extra)
    runs = {(seed, arm.name): _read_arm(path, seed, arm.name) for seed in seeds for arm in arms}
    return RunFolder(path=path, about=about, seeds=seeds, arms=arms, runs=runs)


def read_table(folder: Path, name: str) -> Table:
    """The records kept under `name` in an arm's folder (or the run's own, for `task/<split>`); empty where there are none."""
    path = folder / f"{name}.jsonl"
    records: list[Record] = []
    damaged = 0
    for line in _lines(path):
        try:
            records.append(decode(line))
        except (DataError, InternalError):
            damaged += 1
    return Table(name=name, records=tuple(records), damaged=damaged)


def records(run: ArmRun, name: str) -> tuple[Record, ...]:
    """The records that an arm kept under `name`."""
    return read_table(run.folder / "records", name).records


def kept_names(run: ArmRun) -> list[str]:
    """Names of the record files of an arm, in the order they were kept; files without an event come last."""
    files = {p.stem for p in (run.folder / "records").glob("*.jsonl")} if (run.folder / "records").is_dir() else set()
    told = [str(e.get("name")) for e in run.of_kind("keep")]
    return [n for n in dict.fromkeys(told) if n in files] + sorted(files - set(told))


def kept_of_type(run: ArmRun, kind: type) -> list[str]:
    """Names under which an arm kept records of one type, by the type of each file's first line."""
    return [
        n
        for n in kept_names(run)
        if (row := next(raw_records(run.folder / "records" / f"{n}.jsonl"), None)) and row.get("type") == kind.__name__
    ]


def raw_records(path: Path) -> Iterator[Mapping[str, Any]]:
    """The undecoded rows of a record file: `type`, `id`, `record`. For looking things up by id without the price of decoding all."""
    for line in _lines(path):
        row = _parse(line)
        if row is not None and "id" in row and isinstance(row.get("record"), dict):
            yield row


def read_fit(run: RunFolder, key: str) -> Mapping[str, Any] | None:
    """fit.json of one fit; None where it is not there (yet)."""
    return _read_object(run.path / "fits" / key / "fit.json")


def _arms(about: Mapping[str, Any]) -> tuple[ArmInfo, ...]:
    told = about.get("arms") or []
    if isinstance(told, Mapping):
        told = [{"name": name, **_mapping(body)} for name, body in told.items()]
    out = []
    for arm in told:
        body = _mapping(arm)
        name = str(body.get("name", "")) if body else str(arm)
        if name:
            out.append(
                ArmInfo(
                    name=name,
                    summary=str(body.get("summary", "")),
                    control=bool(body.get("control", False)) or name == _mapping(about.get("card")).get("control"),
                    changes=_mapping(body.get("changes")),
                )
            )
    return tuple(out)


def _read_arm(path: Path, seed: int, arm: str) -> ArmRun:
    folder = path / "seeds" / str(seed) / arm
    rows = [row for row in map(_parse, _lines(folder / "events.jsonl")) if row is not None]
    starts = [i for i, row in enumerate(rows) if row.get("event") == "start"]
    last = tuple(rows[starts[-1] :] if starts else rows)
    kinds = {row.get("event") for row in last}
    if not folder.is_dir():
        state = MISSING
    elif "done" in kinds:
        state = FINISHED
    else:
        state = REFUSED if "refused" in kinds else UNFINISHED
    return ArmRun(seed=seed, arm=arm, folder=folder, state=state, events=last)


def _lines(path: Path) -> list[bytes]:
    try:
        return [line for line in path.read_bytes().split(b"\n") if line.strip()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None  # the torn last line of a killed run
    return row if isinstance(row, dict) else None


def _read_object(path: Path) -> dict[str, Any] | None:
    try:
        return _parse(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir()) if path.is_dir() else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
