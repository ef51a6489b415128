"""What a recipe declares of itself, as data: its card, its arms, and the experiment by which its claim is checked here."""

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
    """The one setting, a whole number, that scales teacher cost; `compare` sizes recipes by it. Empty where the teacher is never asked."""
    arm: str
    """The arm that is the system itself."""
    baseline: str
    """The arm that the system's claim is against."""
    control: str | None = None
    """The arm that should destroy the effect."""
    claims: tuple[Claim, ...] = ()
    deviations: tuple[str, ...] = ()
    """Where this differs from the paper, one line each."""
    ends_early: str = ""
    """Why a run may ask less than any plan can know: the plan is then the most. As a sentence's second half: "rounds end ..."."""
    version: int = 1
    """Raised when a change of the recipe can change its results: it is part of every run's identity."""
    demo_arms: tuple[str, ...] = ()
    """The arms run when none are named; all of them where this is empty."""
    size_floor: int = 1
    """The smallest `size` at which the recipe still means something."""
    size_along: Mapping[str, int] = field(default_factory=dict)
    """Further whole-number settings that grow with `size`, in the proportion of the preset; each with its own floor. A nested one is
    named with dots: `training.steps`."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """One comparison of two arms, with the rule that turns it into a verdict."""

    claim: str
    """What is claimed, in a sentence."""
    better: str
    """The arm that should do better."""
    worse: str
    """The arm that it is held against."""
    metric: str = "accuracy, 0-shot"
    """A scorecard by the name that reports give it, or `note:NAME`: a number that the recipe noted under that name."""
    margin: float = 0.0
    """Confirmed where the interval of `better` minus `worse` lies above this, refuted where it lies below. Negative for a claim that one
    arm is not worse than another by more than that."""
    lower: bool = False
    """True where a smaller value is the better one; differences are then counted the other way round."""
    control: str | None = None
    """The arm that should destroy the effect; it is held against `worse` too."""
    published: str = ""
    """The published number and where it stands, for the reader."""
    rule: bool = True
    """False where the difference is reported without a verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A declared check of a recipe's claims: committed before its seeds are run, decided from the journal alone.

    `$NAME` in names of tasks and models is filled in from the environment.
    """

    contrasts: tuple[Contrast, ...]
    task: str
    teacher: str | None = None
    student: str | None = None
    pool: tuple[str, ...] = ()
    preset: str = "laptop"
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the preset, nested names with dots."""
    task_options: Mapping[str, Any] = field(default_factory=dict)
    tune_options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the task that tuning uses instead, so that what is chosen is not chosen on the test problems of the record."""
    test_limit: int | None = None
    seeds: int = 5
    """How many seeds the record is made with."""
    first_seed: int = 0
    """The first of them; the others follow. A second look at a claim takes seeds that nobody has seen."""
    also: tuple[str, ...] = ()
    """Further arms, run and reported without a rule."""
    shrunk: str = ""
    """What is smaller here than in the paper's check or the full one, and why."""
    full: str = ""
    """The command of the check at full size."""

    @property
    def arms(self) -> tuple[str, ...]:
        """Every arm that has to be run, in the order of first mention."""
        named = [arm for c in self.contrasts for arm in (c.worse, c.better, c.control) if arm is not None]
        return tuple(dict.fromkeys((*self.also, *named)))
