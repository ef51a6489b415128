"""What a recipe declares of itself, as data: its card, its arms, and the presets its settings come in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One published number, so that the report can put ours beside it."""

    what: str
    """What was compared, in words."""
    published: str
    """The number as published, with its unit."""
    where: str
    """Table or section of the paper."""
    arms: tuple[str, str] | None = None
    """The arms here whose difference (first minus second) tests the same direction."""
    metric: str = "accuracy, 0-shot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The declared facts of a recipe."""

    title: str
    claim: str
    """The system in one sentence."""
    source: str
    """Authors, year, identifier. Empty for baselines of our own."""
    family: str
    kind: str
    """`system` (published) or `baseline`."""
    needs: Mapping[str, tuple[str, ...]]
    """Capabilities per role, for example `{"teacher": ("generate", "train")}`. An arm may override them."""
    steps: tuple[str, ...]
    """Names that the recipe passes to `lab.keep`, in order; a test compares them with the journal."""
    size: str
    """The one setting that scales teacher cost; `compare` sizes recipes by it."""
    arm: str
    """The arm that is the system itself."""
    baseline: str
    """The arm that the system's claim is against."""
    control: str | None = None
    """The arm that should destroy the effect."""
    claims: tuple[Claim, ...] = ()
    deviations: tuple[str, ...] = ()
    """Where this differs from the paper, one line each."""
    version: int = 1
    """Raised when a change of the recipe can change its results: it is part of every run's identity."""
    demo_arms: tuple[str, ...] = ()
    """The arms run when none are named; all of them where this is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A named change of settings."""

    summary: str
    """One line for tables and reports."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    needs: Mapping[str, tuple[str, ...]] | None = None
    """Capabilities per role, where they differ from the card's."""
    control: bool = False
    """True where the arm should show no effect."""
