"""Untouched: the student as it is, measured the way every other recipe measures it.

1. Evaluate the student on the task's test problems.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tutelage.card import Arm, Card
from tutelage.lab import Lab, Role

CARD = Card(
    title="Untouched student",
    claim="The student as it is: what every way of teaching has to beat.",
    source="",
    family="baseline",
    kind="baseline",
    needs={"student": ("generate",)},
    steps=(),
    size="",
    arm="untouched",
    baseline="untouched",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    rationale_tokens: int = 512
    """Longest answer in evaluation; ours."""
    shots: tuple[int, ...] = (0, 3)
    """Numbers of demonstrations in evaluation; ours."""


LAPTOP: dict[str, Any] = dict(rationale_tokens=48, shots=(0, 1))
"""The bundled world's rationales are short."""

TOY: dict[str, Any] = LAPTOP | dict(shots=(0,))

ARMS: dict[str, Arm] = {"untouched": Arm(summary="the student as it is")}


def run(lab: Lab, s: Settings) -> Role:
    lab.evaluate("student", lab.student, shots=s.shots, max_tokens=s.rationale_tokens)
    return lab.student
