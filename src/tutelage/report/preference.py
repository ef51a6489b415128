"""What the student preferred, by skill and style, how far that can be trusted, and the pairs that were made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.records import Feedback, Pair, Solution
from tutelage.report import words
from tutelage.report.read import ArmRun, RunFolder, kept_of_type, records
from tutelage.report.text import finite
from tutelage.report.writing import SHOWN_TEXTS, solutions_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """Preference scores by skill (rows) and style (columns), pooled over seeds."""

    skills: Sequence[str]
    styles: Sequence[str]
    cells: Mapping[tuple[str, str], tuple[float, int]]
    """(mean, number of examples)."""
    sentences: Sequence[str]
    by_seed: Sequence[Mapping[str, Any]]
    """Reliability numbers of each seed."""
    verdict: str


def preference(run: RunFolder, main: str) -> Preference | None:
    """From the scored drafts themselves where they were kept, else from the recipe's note."""
    pooled: dict[tuple[str, str], list[tuple[float, int]]] = {}
    notes = []
    for r in run.of_arm(main) if main else ():
        note = r.note("reliability")
        if isinstance(note, Mapping):
            notes.append({"seed": r.seed, **note})
        scored = _scored(r)
        if scored:
            for solution, feedback in scored:
                key = (solution.problem.skill or "all", solution.technique or "plain")
                pooled.setdefault(key, []).append((feedback.value or 0.0, 1))
        else:
            for key, value in _noted_styles(r.note("preference_by_style")):
                pooled.setdefault(key, []).append((value, 0))
    if not pooled and not notes:
        return None
    cells = {key: (sum(v for v, _ in found) / len(found), sum(n for _, n in found)) for key, found in pooled.items()}
    worst = next((v for v in ("noise", "unknown", "unsure", "reliable") if any(n.get("verdict") == v for n in notes)), "")
    return Preference(
        skills=list(dict.fromkeys(s for s, _ in cells)),
        styles=list(dict.fromkeys(t for _, t in cells)),
        cells=cells,
        sentences=words.reliability_in_words(notes[0]) if notes else (),
        by_seed=notes,
        verdict=worst,
    )


def _scored(run: ArmRun) -> list[tuple[Solution, Feedback]]:
    liked = {f.item: f for f in records(run, "liked") if isinstance(f, Feedback) and f.value is not None}
    if not liked:
        return []
    return [(solution, liked[i]) for i, solution in solutions_of(run).items() if i in liked]


def _noted_styles(note: Any) -> list[tuple[tuple[str, str], float]]:
    """`{skill: {style: value or {"mean": value}}}` or `{style: value}`."""
    if not isinstance(note, Mapping):
        return []
    out = []
    for first, inner in note.items():
        for second, value in inner.items() if isinstance(inner, Mapping) and "mean" not in inner else ((None, inner),):
            mean = finite(value.get("mean")) if isinstance(value, Mapping) else finite(value)
            if mean is not None:
                out.append(((str(first), str(second)) if second is not None else ("all", str(first)), mean))
    return out


def shown_pairs(run: ArmRun | None) -> list[dict[str, Any]]:
    """A few pairs of each kind, those with the widest margin first."""
    found = [p for name in kept_of_type(run, Pair) for p in records(run, name) if isinstance(p, Pair)] if run else []
    kinds = dict.fromkeys(p.kind for p in found)
    out = []
    for kind in kinds:
        mine = sorted((p for p in found if p.kind == kind), key=lambda p: -(p.margin or 0.0))
        for p in mine[: SHOWN_TEXTS - 1]:
            out.append(
                {
                    "kind": kind or "pair",
                    "prompt": p.prompt.text,
                    "chosen": p.chosen,
                    "rejected": p.rejected,
                    "margin": p.margin,
                    "chosen_by": str(p.context.get("chosen", "")),
                    "rejected_by": str(p.context.get("rejected", "")),
                    "of": len(mine),
                }
            )
    return out
