"""Dot-and-whisker plots as percent positions, so that one drawing fits a desk and a phone: lines scale, letters do not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.report.text import metric_words, percent, points


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One arm. Positions are percent of the plot's width."""

    arm: str
    summary: str
    mark: str
    """`system`, `baseline`, `control` or empty."""
    at: float
    low: float | None
    high: float | None
    dots: Sequence[float]
    """One per seed."""
    said: str
    """The numbers in words, for readers of the drawing's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    title: str
    metric: str
    kind: str
    """`value` or `difference`."""
    rows: Sequence[Row]
    ticks: Sequence[tuple[float, str]]
    lines: Sequence[tuple[float, str]]
    """Reference lines: position and label."""
    note: str


def accuracy_plot(summary: Mapping[str, Any], metric: str, *, chance: float | None) -> Plot | None:
    """Every arm's mean with its interval, single seeds as small dots, and the level of guessing."""
    arms = [a for a in summary["arms"] if metric in a["metrics"]]
    if not arms:
        return None
    found = [a["metrics"][metric] for a in arms]
    values = [v for f in found for v in (*f["values"].values(), f["low"], f["high"]) if v is not None]
    shown_chance = chance if chance is not None and chance <= max(values) + 0.1 else None
    low, high, step = _range([*values, *([shown_chance] if shown_chance is not None else [])], floor=0.0, ceiling=1.0)
    place = lambda v: round(100 * (v - low) / (high - low), 2)  # noqa: E731
    rows = [
        Row(
            arm=a["name"],
            summary=a["summary"],
            mark=mark(summary, a),
            at=place(f["mean"]),
            low=None if f["low"] is None else place(f["low"]),
            high=None if f["high"] is None else place(f["high"]),
            dots=[place(v) for v in f["values"].values()] if f["n"] > 1 else (),
            said=f"{percent(f['mean'])}" + ("" if f["low"] is None else f", 95 % interval {percent(f['low'])} to {percent(f['high'])}"),
        )
        for a, f in zip(arms, found, strict=True)
    ]
    over = {f["over"] for f in found if f["low"] is not None}
    return Plot(
        title=metric_words(metric),
        metric=metric,
        kind="value",
        rows=rows,
        ticks=[(place(t), f"{100 * t:.0f} %") for t in _ticks(low, high, step)],
        lines=[(place(shown_chance), "guessing")] if shown_chance is not None else [],
        note=_note(over),
    )


def difference_plot(summary: Mapping[str, Any], metric: str) -> Plot | None:
    """Every arm minus the baseline, with the line of no difference."""
    pairs = [(a, d) for a in summary["arms"] if metric in a["metrics"] and (d := a["metrics"][metric]["difference"]) is not None]
    if not pairs:
        return None
    values = [v for _, d in pairs for v in (*d["values"].values(), d["low"], d["high"], 0.0) if v is not None]
    low, high, step = _range(values)
    place = lambda v: round(100 * (v - low) / (high - low), 2)  # noqa: E731
    rows = [
        Row(
            arm=a["name"],
            summary=a["summary"],
            mark=mark(summary, a),
            at=place(d["mean"]),
            low=None if d["low"] is None else place(d["low"]),
            high=None if d["high"] is None else place(d["high"]),
            dots=[place(v) for v in d["values"].values()] if len(d["values"]) > 1 else (),
            said=f"{points(d['mean'])} points" + ("" if d["low"] is None else f", 95 % interval {points(d['low'])} to {points(d['high'])}"),
        )
        for a, d in pairs
    ]
    return Plot(
        title=f"The same as difference to {summary['baseline']}, in points",
        metric=metric,
        kind="difference",
        rows=rows,
        ticks=[(place(t), points(t).removesuffix(".0") if t else "0") for t in _ticks(low, high, step)],
        lines=[(place(0.0), "no difference")],
        note=_note({d["over"] for _, d in pairs if d["low"] is not None}),
    )


def sparkline(values: Sequence[float], *, most: int = 60) -> str:
    """`points` of an SVG polyline in a 100 by 24 box, at most `most` of them; empty for fewer than two values."""
    if len(values) < 2:
        return ""
    every = max(1, math.ceil(len(values) / most))
    kept = list(values[::every])
    if (len(values) - 1) % every:
        kept.append(values[-1])
    low, high = min(kept), max(kept)
    spread = (high - low) or 1.0
    return " ".join(f"{100 * i / (len(kept) - 1):.1f},{22 - 20 * (v - low) / spread:.1f}" for i, v in enumerate(kept))


def mark(summary: Mapping[str, Any], arm: Mapping[str, Any]) -> str:
    """`system`, `baseline`, `control` or empty: what an arm is to this run."""
    if arm["name"] in (summary["system"], summary["baseline"]):
        return "system" if arm["name"] == summary["system"] else "baseline"
    return "control" if arm["control"] else ""


def _note(over: set[str]) -> str:
    if over == {"seeds"}:
        return "Large dots are means over seeds, small dots single seeds, lines 95 % t intervals over seeds."
    if over == {"items"}:
        return "One seed: lines are 95 % intervals over the test questions and say nothing about other seeds."
    return (
        "Large dots are means over seeds, small dots single seeds. Lines are 95 % intervals: over seeds, or over test questions where all "
        "seeds measured the same."
        if over
        else "Too few values for intervals."
    )


def _range(values: Sequence[float], *, floor: float = -math.inf, ceiling: float = math.inf) -> tuple[float, float, float]:
    """Round ends around the values, and a round step that gives three to six ticks."""
    low, high = min(values), max(values)
    spread = max(high - low, 0.02)
    low, high = max(floor, low - 0.06 * spread), min(ceiling, high + 0.06 * spread)
    step = next(s for s in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0) if (high - low) / s <= 6 or s == 1.0)
    return max(floor, math.floor(low / step + 1e-9) * step), min(ceiling, math.ceil(high / step - 1e-9) * step), step


def _ticks(low: float, high: float, step: float) -> list[float]:
    first, last = round(low / step), round(high / step)
    return [round(k * step, 6) for k in range(first, last + 1)]
