"""Preference pairs from any two solutions of a problem that are far enough apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from tutelage.records import Origin, Pair, Problem, Prompt, Solution


def margin_pairs(
    solutions: Sequence[Solution],
    scores: Sequence[float | None],
    *,
    prompt: Callable[[Problem], Prompt],
    above: float,
    at_most: int,
) -> tuple[list[Pair], dict[str, int]]:
    """Per problem, up to `at_most` pairs whose scores differ by more than `above` (LbT: 8 and 0.3), with counts of what was dropped.

    Widest margins come first, but a solution that already stands in fewer pairs goes before one that stands in more, so that no single
    rationale is in all of them. Equal texts make no pair.
    """
    groups: dict[str, list[tuple[Solution, float]]] = {}
    dropped: Counter[str] = Counter()
    for solution, score in zip(solutions, scores, strict=True):
        if score is None:
            dropped["solution without a score"] += 1
        else:
            groups.setdefault(solution.problem.id, []).append((solution, score))
    pairs: list[Pair] = []
    for group in groups.values():
        wide = [
            (round(a[1] - b[1], 9), i, j)
            for i, a in enumerate(group)
            for j, b in enumerate(group)
            if round(a[1] - b[1], 9) > above and a[0].text != b[0].text
        ]
        if not wide:
            dropped[f"problem without a margin above {above:g}"] += 1
        used: Counter[tuple[str, int]] = Counter()
        for _ in range(min(at_most, len(wide))):
            best = min(wide, key=lambda x: (used["chosen", x[1]] + used["rejected", x[2]], -x[0], x[1], x[2]))
            wide.remove(best)
            margin, i, j = best
            used["chosen", i] += 1
            used["rejected", j] += 1
            chosen, rejected = group[i][0], group[j][0]
            pairs.append(
                Pair(
                    prompt=prompt(chosen.problem), chosen=chosen.text, rejected=rejected.text, kind="rationale", margin=margin,
                    context={"skill": chosen.problem.skill}, origin=Origin(step="margin_pairs", parents=(chosen.id, rejected.id)),
                )
            )  # fmt: skip
        if wide:
            dropped["more than needed"] += len(wide)
    return pairs, dict(dropped)
