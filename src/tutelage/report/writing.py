"""What the teacher wrote for the student, before and after alignment, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.records import Example, Solution
from tutelage.report import words
from tutelage.report.read import ArmRun, RunFolder, kept_of_type, records
from tutelage.report.styles import Styles, learn_styles, style_shares
from tutelage.report.text import finite, percent

SHOWN_TEXTS = 3
"""Texts per side, chains and pairs on a page: enough to see a habit, few enough to read."""

EXAMPLES = "examples"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What one arm's teacher wrote for the student, under one seed."""

    arm: str
    title: str
    texts: Sequence[Mapping[str, Any]]
    """`skill`, `prompt`, `completion`, `words`."""
    count: int
    words: float | None
    """Mean length in words."""
    answered: float | None
    """Share of solutions that reach the recorded answer of their problem; None where none has one."""
    distinct: float | None
    """Share of different texts."""
    styles: Sequence[tuple[str, float]] = ()
    judged: float | None = None
    """Where the styles were recognised by their words: the share of drafts for which that works."""


def written(run: RunFolder, summary: Mapping[str, Any], main: str) -> list[Written]:
    """The baseline's data beside the system's, from the first seed that has both (or either)."""
    names = [n for n in dict.fromkeys((summary["baseline"], main)) if n and any(a.name == n for a in run.arms)]
    for seed in run.seeds:
        sides = [(n, [x for x in records(run.runs[seed, n], EXAMPLES) if isinstance(x, Example)]) for n in names]
        if all(found for _, found in sides) and sides:
            break
    else:
        sides = [
            next(((n, found) for r in run.of_arm(n) if (found := [x for x in records(r, EXAMPLES) if isinstance(x, Example)])), (n, []))
            for n in names
        ]
        seed = run.seeds[0] if run.seeds else 0
    drafts = [(x.problem.id, x.technique, x.text) for x in solutions_of(run.runs[seed, main]).values() if x.technique] if main else []
    learned = learn_styles(drafts)
    out = []
    for name, examples in sides:
        if not examples:
            continue
        solutions = solutions_of(run.runs[seed, name])
        texts = [
            {
                "skill": str(e.context.get("skill", "")),
                "prompt": _question_of(e, solutions) or e.prompt.text,
                "completion": e.completion,
                "id": e.id,
            }
            for e in _spread(examples)
        ]
        known = [s for e in examples if (s := _parent(e, solutions)) is not None and s.problem.answer is not None]
        arm = next(a for a in summary["arms"] if a["name"] == name)
        styles, judged = _styles(run.runs[seed, name], examples, learned)
        out.append(
            Written(
                arm=name,
                title=words.label(arm),
                texts=texts,
                count=len(examples),
                words=sum(len(e.completion.split()) for e in examples) / len(examples),
                answered=sum(s.answer is not None and s.answer == s.problem.answer for s in known) / len(known) if known else None,
                distinct=len({(e.prompt.text, e.completion) for e in examples}) / len(examples),
                styles=styles,
                judged=judged,
            )
        )
    return out


def _styles(run: ArmRun, examples: Sequence[Example], learned: Styles | None) -> tuple[list[tuple[str, float]], float | None]:
    """Share of each way of writing: from the note `styles_written` (style -> count), else from what the examples say of themselves, else
    recognised by their words. The second value is how reliable the recognising is, None where there was none."""
    note = run.note("styles_written")
    if isinstance(note, Mapping):
        counts = {str(k): v for k, value in note.items() if (v := finite(value)) is not None}
    else:
        counts = Counter(str(e.context["technique"]) for e in examples if e.context.get("technique"))
    total = sum(counts.values())
    if total:
        return [(k, v / total) for k, v in sorted(counts.items(), key=lambda kv: (-kv[1], kv[0]))], None
    if learned is None:
        return [], None
    return style_shares(learned, [e.completion for e in examples]), learned.held_out


def _spread(examples: Sequence[Example]) -> list[Example]:
    """The first examples, one per skill as far as they go, in the order of skill names so that both sides show the same skills."""
    by_skill: dict[str, list[Example]] = {}
    for e in examples:
        by_skill.setdefault(str(e.context.get("skill", "")), []).append(e)
    picked: list[Example] = []
    for turn in range(SHOWN_TEXTS):
        picked += [group[turn] for _, group in sorted(by_skill.items()) if len(group) > turn]
    return picked[:SHOWN_TEXTS]


def drift(sides: Sequence[Written]) -> str:
    """The way of writing whose share differs most between the two sides, in a sentence; empty where there is nothing to say."""
    if len(sides) != 2 or not sides[0].styles or not sides[1].styles:
        return ""
    before, after = dict(sides[0].styles), dict(sides[1].styles)
    style = max(sorted({*before, *after}), key=lambda s: abs(after.get(s, 0.0) - before.get(s, 0.0)))
    was, now = before.get(style, 0.0), after.get(style, 0.0)
    if abs(now - was) < 0.05:
        return f"Both write alike: no way of writing differs by 5 points or more between {sides[0].arm} and {sides[1].arm}."
    return f"The largest change: '{style}' makes up {percent(now)} of what {sides[1].arm} was given, and {percent(was)} of {sides[0].arm}."


def solutions_of(run: ArmRun) -> dict[str, Solution]:
    return {x.id: x for name in kept_of_type(run, Solution) for x in records(run, name) if isinstance(x, Solution)}


def _parent(example: Example, solutions: Mapping[str, Solution]) -> Solution | None:
    return next((solutions[p] for p in (example.origin.parents if example.origin else ()) if p in solutions), None)


def _question_of(example: Example, solutions: Mapping[str, Solution]) -> str:
    parent = _parent(example, solutions)
    return parent.problem.text if parent is not None else ""
