"""What makes two scorecards comparable: the same questions, put in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.hashing import content_id
from tutelage.records import Problem
from tutelage.tasks.task import Task


def fingerprint_of(
    task: Task, problems: Sequence[Problem], *, asked: Sequence[str], shots: int, decoding: Mapping[str, Any], template: str = ""
) -> str:
    """Hash of task, version, items, what was asked about each (prompts as sent, so the shots shown and their wording too), number of
    shots, chat template and decoding. Not of the model."""
    body: dict[str, Any] = {
        "task": task.name,
        "version": task.version,
        "items": [p.id for p in problems],
        "prompts": list(asked),
        "shots": shots,
        "decoding": dict(decoding),
    }
    if template:  # left out elsewhere, so that scorecards of models without one keep their fingerprints
        body["template"] = template
    return content_id(body)
