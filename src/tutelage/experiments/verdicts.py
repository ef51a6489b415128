"""Verdicts on a declared experiment, by rule, from values by seed. Nobody writes one by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tutelage.card import Contrast, Experiment
from tutelage.measure import Interval, holm, paired_t
from tutelage.report.read import RunFolder
from tutelage.report.summary import Card, scorecards
from tutelage.report.text import finite

CONFIRMED, REFUTED, UNSEEN, UNDECIDED, REPORTED = "confirmed", "refuted", "not visible at this size", "not decided", "reported"
DESTROYED, SURVIVES, NOT_ASKED = "destroyed", "survives", "not asked"
CONTROL_SHARE = 0.25
"""A control has destroyed an effect where less than this share of it is left, or nothing that can be told from 0. A claim that one arm is
not worse than another by more than a margin has no effect to destroy: there the control has to fail the claim itself."""
LEVEL = 0.05
NOTE = "note:"

Values = Mapping[str, Mapping[int, float]]
"""Arm -> seed -> value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One contrast with its verdict."""

    contrast: Contrast
    verdict: str
    difference: Interval
    """`better` minus `worse`, or the other way round where a smaller value is the better one."""
    p_holm: float | None
    """Against the margin, corrected for the number of contrasts with a rule."""
    values: Mapping[str, Mapping[int, float]]
    control: Interval | None = None
    control_verdict: str = ""
    missing: tuple[str, ...] = ()
    """What stood in the way of a verdict."""

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "values": {arm: {str(s): v for s, v in by.items()} for arm, by in self.values.items()}}


@dataclass(slots=True)
class _Tested:
    contrast: Contrast
    difference: Interval
    shifted: Interval
    values: dict[str, dict[int, float]]
    missing: list[str] = field(default_factory=list)


def values_of(run: RunFolder, experiment: Experiment) -> dict[str, dict[str, dict[int, float]]]:
    """Metric -> arm -> seed -> value, for everything that the contrasts name; unlike measurements are left out."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for metric in dict.fromkeys(c.metric for c in experiment.contrasts):
        by_arm = found.setdefault(metric, {})
        prints: dict[int, set[str]] = {}
        cards: dict[str, dict[int, Card]] = {}
        for arm in experiment.arms:
            for r in run.of_arm(arm) if any(a.name == arm for a in run.arms) else []:
                if metric.startswith(NOTE):
                    noted = finite(r.note(metric.removeprefix(NOTE)))
                    if noted is not None:
                        by_arm.setdefault(arm, {})[r.seed] = noted
                elif card := measured(scorecards(r), metric):
                    cards.setdefault(arm, {})[r.seed] = card
                    prints.setdefault(r.seed, set()).add(str(card.get("fingerprint")))
        for arm, mine in cards.items():
            by_arm[arm] = {seed: float(card["value"]) for seed, card in mine.items() if len(prints[seed]) == 1}
    return found


def measured(cards: Mapping[str, Card], metric: str) -> Card | None:
    """The scorecard of a metric. One that names no model is the student's, or that of the only model measured where the student is not,
    such as a reward model."""
    if metric in cards or len(cards) != 1:
        return cards.get(metric)
    [(name, card)] = cards.items()
    return card if name.endswith(f": {metric}") else None


def judge(experiment: Experiment, values: Mapping[str, Values], *, seeds: Sequence[int]) -> list[Judged]:
    """Every contrast of the experiment with its verdict.

    Confirmed where the 95 % interval of the paired difference lies above the margin, refuted where it lies below; with several contrasts
    the p-value against the margin must hold after Holm's correction too. A seed that is missing in an arm leaves the contrast undecided.
    """
    tested = [_test(c, values.get(c.metric, {}), seeds) for c in experiment.contrasts]
    ruled = [t for t in tested if t.contrast.rule and not t.missing and t.shifted.p_value is not None]
    adjusted = holm([t.shifted.p_value for t in ruled if t.shifted.p_value is not None])
    p_of = {id(t): p for t, p in zip(ruled, adjusted, strict=True)}
    return [_judged(t, p_of.get(id(t))) for t in tested]


def _test(c: Contrast, values: Values, seeds: Sequence[int]) -> _Tested:
    named = [c.worse, c.better, *([c.control] if c.control else [])]
    mine = {arm: {s: values[arm][s] for s in seeds if s in values.get(arm, {})} for arm in named}
    missing = [f"{arm}: no {c.metric} under seed {s}" for arm in named for s in seeds if s not in mine[arm]]
    if len(seeds) < 2:
        missing.append("an interval over seeds needs two of them")
    gaps = _gaps(c, mine[c.better], mine[c.worse])
    return _Tested(c, paired_t(gaps), paired_t([g - c.margin for g in gaps]), mine, missing)


def _gaps(c: Contrast, ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    sign = -1.0 if c.lower else 1.0
    return [sign * (ours[s] - theirs[s]) for s in ours if s in theirs]


def _judged(t: _Tested, p: float | None) -> Judged:
    c = t.contrast
    verdict = UNDECIDED
    if not c.rule:
        verdict = REPORTED
    elif not t.missing and t.shifted.low is not None and t.shifted.high is not None and p is not None:
        verdict = UNSEEN
        if p < LEVEL and t.shifted.low > 0:
            verdict = CONFIRMED
        elif p < LEVEL and t.shifted.high < 0:
            verdict = REFUTED
    control, said = None, ""
    if c.control is not None:
        control = paired_t(_gaps(c, t.values[c.control], t.values[c.worse]))
        said = NOT_ASKED
        if verdict == CONFIRMED and control.low is not None and control.value is not None and t.difference.value is not None:
            nothing_left = control.low <= min(c.margin, 0.0) or (c.margin >= 0 and control.value < CONTROL_SHARE * t.difference.value)
            said = DESTROYED if nothing_left else SURVIVES
    return Judged(
        contrast=c,
        verdict=verdict,
        difference=t.difference,
        p_holm=p,
        values=t.values,
        control=control,
        control_verdict=said,
        missing=tuple(t.missing),
    )


def rejudge(record: Mapping[str, Any]) -> list[Judged]:
    """The verdicts of a record, computed anew from the values by seed that it holds."""
    experiment = Experiment(task="", contrasts=tuple(Contrast(**row["contrast"]) for row in record["contrasts"]))
    values: dict[str, dict[str, dict[int, float]]] = {}
    for row in record["contrasts"]:
        by_arm = values.setdefault(row["contrast"]["metric"], {})
        for arm, by_seed in row["values"].items():
            by_arm[arm] = {int(seed): float(value) for seed, value in by_seed.items()}
    return judge(experiment, values, seeds=record["seeds"])
