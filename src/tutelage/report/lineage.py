"""Where a record came from: the chain of its parents back to the seeds, read from the files of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.errors import DataError
from tutelage.records import Example, Feedback, Pair, Problem, Prompt, Solution
from tutelage.report.read import ArmRun, RunFolder, kept_names, raw_records, read_run

DEEPEST = 20
"""Steps back that are followed; a chain of records is far shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One record of a chain and what it was made from."""

    id: str
    kind: str
    """The record's type, or `model`, or `unknown` where the run folder does not hold it."""
    kept_as: str = ""
    """The name it was kept under; empty for what is only contained in other records."""
    step: str = ""
    """The step that made it, from its origin."""
    model: str = ""
    """Id of the model that wrote it."""
    writer: str = ""
    """That model in words."""
    content: Mapping[str, Any]
    """The record's fields; empty for an unknown one."""
    parents: tuple[Link, ...] = ()
    seen_above: bool = False
    """True where the same record was spelled out elsewhere in the chain; its parents are not repeated."""


class Index:
    """Records of one arm under one seed by id, and models of the run by id. Reads each file once; decodes nothing."""

    def __init__(self, run: RunFolder, arm: ArmRun) -> None:
        self._rows: dict[str, tuple[str, str, Mapping[str, Any]]] = {}
        for name in kept_names(arm):
            self._take(name, raw_records(arm.folder / "records" / f"{name}.jsonl"))
        for path in sorted((run.path / "task").glob("*.jsonl")) if (run.path / "task").is_dir() else ():
            self._take(f"task/{path.stem}", raw_records(path))
        self._models = model_names(run, arm)

    def _take(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            self._rows.setdefault(row["id"], (name, str(row.get("type")), row["record"]))

    def __contains__(self, record_id: str) -> bool:
        return record_id in self._rows

    def first(self, name: str, count: int) -> list[str]:
        """Ids of the first records kept under `name`."""
        return [i for i, (held, _, _) in self._rows.items() if held == name][:count]

    def fields(self, record_id: str) -> Mapping[str, Any] | None:
        return self._rows[record_id][2] if record_id in self._rows else None

    def chain(self, record_id: str) -> Link:
        return self._link(record_id, set(), 0)

    def _link(self, record_id: str, seen: set[str], depth: int) -> Link:
        if record_id in self._models:
            return Link(id=record_id, kind="model", writer=self._models[record_id], content={})
        if record_id not in self._rows:
            return Link(id=record_id, kind="unknown", content={})
        name, kind, body = self._rows[record_id]
        origin = body.get("origin") or {}
        model = str(origin.get("model") or "")
        again = record_id in seen or depth >= DEEPEST
        seen.add(record_id)
        return Link(
            id=record_id,
            kind=kind,
            kept_as=name,
            step=str(origin.get("step") or ""),
            model=model,
            writer=self._models.get(model, ""),
            content=body,
            seen_above=again,
            parents=() if again else tuple(self._link(p, seen, depth + 1) for p in dict.fromkeys(origin.get("parents") or ())),
        )


def chain(folder: Path | str | RunFolder, record_id: str, *, seed: int | None = None, arm: str | None = None) -> Link:
    """The chain of parents of one record, looked for in all arms and seeds unless one is named; a unique beginning of the id is enough."""
    run = folder if isinstance(folder, RunFolder) else read_run(folder)
    wanted = [r for r in run.runs.values() if seed in (None, r.seed) and arm in (None, r.arm)]
    for arm_run in wanted:
        index = Index(run, arm_run)
        if record_id in index:
            return index.chain(record_id)
        matches = [i for i in index._rows if i.startswith(record_id)] if len(record_id) >= 6 else []
        if len(matches) == 1:
            return index.chain(matches[0])
        if matches:
            raise DataError("several records begin with this id", got=record_id, fix="write more of it")
    raise DataError(f"run '{run.path}' holds no such record", got=record_id, fix="ids stand in the records/*.jsonl files and on the report")


def model_names(run: RunFolder, arm: ArmRun) -> dict[str, str]:
    """Model id -> what a reader calls it: its role and name, or which training made it."""
    names = {}
    for role, body in (run.about.get("models") or {}).items():
        if isinstance(body, Mapping) and body.get("id"):
            names[str(body["id"])] = f"{role} {body.get('name', '')}".strip()
    for event in arm.of_kind("fit"):
        if event.get("ref"):
            step = str(event.get("step") or "training")
            names[str(event["ref"])] = f"{event.get('role', 'model')} after the step '{step}'"
    return names


def seeds_of(link: Link) -> list[Link]:
    """The ends of a chain: records without parents of their own, each once."""
    ends: dict[str, Link] = {}
    stack = [link]
    while stack:
        here = stack.pop()
        if here.parents:
            stack.extend(reversed(here.parents))
        elif not here.seen_above:
            ends.setdefault(here.id, here)
    return list(ends.values())


def link_text(link: Link) -> str:
    """The text of a record in a chain, whatever its type."""
    body = link.content
    match link.kind:
        case Problem.__name__:
            answer = body.get("answer")
            return str(body.get("text", "")) + (f"\n(answer: {answer})" if answer is not None else "")
        case Solution.__name__:
            return str(body.get("text", ""))
        case Example.__name__:
            return f"{_prompt_text(body.get('prompt'))}\n→ {body.get('completion', '')}"
        case Pair.__name__:
            return f"preferred: {body.get('chosen', '')}\nover:      {body.get('rejected', '')}"
        case Feedback.__name__:
            return f"{body.get('signal', 'score')} {body.get('value')} over {body.get('n', 0)} probes"
        case Prompt.__name__:
            return _prompt_text(body)
    return ""


def link_title(link: Link) -> str:
    """What a chain's record is, in words."""
    if link.kind == "model":
        return f"model: {link.writer}"
    if link.kind == "unknown":
        return "a record that this folder does not hold (a seed problem of the task)"
    noun = {
        "Example": "training example",
        "Solution": "worked solution",
        "Problem": "question",
        "Pair": "preference pair",
        "Feedback": "preference score",
    }.get(link.kind, link.kind.lower())
    if link.kept_as.startswith("task/"):
        return f"{noun} of the task's {link.kept_as.removeprefix('task/')} split"
    technique = link.content.get("technique")
    by = f", written by the {link.writer}" if link.writer else ""
    return noun + (f" in the style '{technique}'" if technique else "") + by + (f" (step {link.step})" if link.step else "")


def chain_summary(link: Link) -> str:
    """How far a chain goes back, in a sentence."""
    ends = seeds_of(link)
    known = sum(e.kind != "unknown" for e in ends)
    deep = _depth(link)
    return f"{deep} step{'s' if deep != 1 else ''} back to {len(ends)} seed{'s' if len(ends) != 1 else ''}" + (
        "" if known == len(ends) else f" ({len(ends) - known} outside this folder)"
    )


def _depth(link: Link) -> int:
    return 1 + max(map(_depth, link.parents)) if link.parents else 0


def _prompt_text(prompt: Any) -> str:
    messages = (prompt or {}).get("messages") or () if isinstance(prompt, Mapping) else ()
    return "\n\n".join(str(m.get("content", "")) for m in messages)
