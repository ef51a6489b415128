"""Labelled texts from a teacher that is told how a classifier does, and the report that it is told."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tutelage.capabilities import Generates, Sampling
from tutelage.generate.questions import Refuse, none_refused
from tutelage.measure import ClassReport
from tutelage.prompts.tutoring import LabelledItem
from tutelage.records import Origin, Problem, Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What came of one request for labelled texts."""

    problems: list[Problem]
    """The label as the answer."""
    calls: int
    asked: int
    """Texts asked for, or sent where a reply held more."""
    parsed: int
    dropped: dict[str, int]


def write_labelled(
    teacher: Generates,
    *,
    render: Callable[[int], Prompt],
    read: Callable[[str], Sequence[LabelledItem]],
    labels: Sequence[str],
    wanted: int,
    per_call: int,
    sampling: Sampling,
    teacher_id: str,
    parents: Sequence[str] = (),
    known: Sequence[str] = (),
    refuse: Refuse = none_refused,
    again: int = 1,
    skill: str = "",
    step: str = "written",
) -> Written:
    """`wanted` new texts, at most `per_call` to a call; what is missing then is asked for `again` times, with other noise.

    Left out and counted: labels that there are not, texts in `known` or written before (but for case and white space), what `refuse` names
    a reason for, and what is beyond the number wanted.
    """
    kept: list[Problem] = []
    dropped: Counter[str] = Counter()
    seen = {_plain(text) for text in known}
    calls = asked = parsed = 0
    for turn in range(again + 1):
        missing = wanted - len(kept)
        if missing <= 0:
            break
        count = min(per_call, missing)
        prompt, samples = render(count), math.ceil(missing / count)
        noise = replace(sampling, n=samples, seed=None if sampling.seed is None else sampling.seed + turn)
        for completion in teacher.generate([prompt], noise)[0]:
            items = list(read(completion.text))
            calls, asked, parsed = calls + 1, asked + max(count, len(items)), parsed + len(items)
            if not items:
                dropped["reply without a readable item"] += 1
            for item, refused in zip(items, refuse([item.text for item in items]), strict=True):
                reason = refused or _unwanted(item, labels, seen) or ("beyond the number wanted" if len(kept) >= wanted else None)
                if reason is not None:
                    dropped[reason] += 1
                    continue
                seen.add(_plain(item.text))
                origin = Origin(step=step, parents=tuple(parents), model=teacher_id, prompt=prompt.id)
                kept.append(Problem(text=item.text, answer=item.label, skill=skill, origin=origin))
    return Written(problems=kept, calls=calls, asked=asked, parsed=parsed, dropped=dict(dropped))


def report_lines(report: ClassReport) -> str:
    """One line per class by its name, all of them, then the averages. What is undefined is said to be so, and never 0."""
    rows = [
        f"{c.label}: {c.support} texts, predicted {c.predicted}, precision {_number(c.precision)}, recall {_number(c.recall)}, "
        f"F1 {_number(c.f1)}"
        for c in report.classes
    ]
    averages = f"all: accuracy {_number(report.accuracy)}, macro F1 {_number(report.macro_f1)}, weighted F1 {_number(report.weighted_f1)}"
    return "\n".join([*rows, averages])


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"


def _unwanted(item: LabelledItem, labels: Sequence[str], seen: set[str]) -> str | None:
    if item.label not in labels:
        return "no such label"
    return "known already" if _plain(item.text) in seen else None


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
