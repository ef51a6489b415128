"""Preference pairs from feedback. Ties, missing feedback and empty groups are skipped and counted, never guessed."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from tutelage.errors import SettingsError
from tutelage.records import Feedback, Origin, Pair, Problem, Prompt, Solution


def best_worst_pairs(
    solutions: Sequence[Solution],
    feedback: Sequence[Feedback],
    *,
    prompt: Callable[[Problem], Prompt],
    min_margin: float = 0.0,
) -> tuple[list[Pair], dict[str, int]]:
    """Per problem, its best-liked solution over its least-liked one (ARTE Sec. 3.3, rationale level).

    `prompt` renders what the pair is trained under; giving the plain prompt here is the paper's prompt erasure. A pair needs a
    margin above `min_margin` (so 0 drops exact ties) and two different texts. Among equals the first in order is taken.
    """
    groups: dict[str, list[tuple[Solution, Feedback]]] = {}
    dropped: dict[str, int] = {}
    for solution, liked in zip(solutions, feedback, strict=True):
        if liked.value is None:
            _count(dropped, "solution without feedback")
            continue
        groups.setdefault(solution.problem.id, []).append((solution, liked))
    pairs = []
    for group in groups.values():
        best = max(group, key=lambda x: x[1].value or 0.0)
        worst = min(group, key=lambda x: x[1].value or 0.0)
        margin = (best[1].value or 0.0) - (worst[1].value or 0.0)
        if len(group) < 2:
            _count(dropped, "problem with one scored solution")
        elif margin <= min_margin:
            _count(dropped, f"margin at most {min_margin:g}")
        elif best[0].text == worst[0].text:
            _count(dropped, "equal texts")
        else:
            origin = Origin(step="best_worst_pairs", parents=(best[0].id, worst[0].id))
            pairs.append(
                Pair(
                    prompt=prompt(best[0].problem),
                    chosen=best[0].text,
                    rejected=worst[0].text,
                    kind="rationale",
                    margin=margin,
                    context={"skill": best[0].problem.skill, "chosen": best[0].technique, "rejected": worst[0].technique},
                    origin=origin,
                )
            )
    return pairs, dropped


def top_bottom_pairs(
    problems: Sequence[Problem],
    scores: Mapping[str, float | None],
    *,
    prompts: Mapping[str, Prompt],
    write: Callable[[Sequence[Problem]], str],
    wanted: int,
    per_reply: int = 1,
    quantile: float = 0.25,
    rng: random.Random,
) -> tuple[list[Pair], dict[str, int]]:
    """Replies of questions drawn from the best-liked `quantile` over replies drawn from the least-liked one (ARTE Sec. 3.3).

    The paper pairs single questions; a teacher trained on replies of one question soon writes no second one, so a reply holds
    `per_reply`. `scores` and `prompts` are keyed by problem id; a pair is trained under the prompt that drafted the first chosen question,
    `write` turns problems into the text of a reply. Draws are without replacement as long as that is possible. The margin is the
    difference of the mean scores; pairs without one are dropped. A question named twice counts once.
    """
    if not 0 < quantile <= 0.5:
        raise SettingsError("a quantile for pairs must be above 0 and at most 0.5, or top and bottom would overlap", got=quantile)
    distinct = {p.id: p for p in problems}.values()
    ranked = [(s, p) for p in distinct if (s := scores.get(p.id)) is not None]
    dropped = {"question without feedback": len(distinct) - len(ranked)} if len(ranked) < len(distinct) else {}
    # Sorting by score alone keeps the order of drafting among ties, which carries no meaning the student could have given it.
    ranked.sort(key=lambda x: -x[0])
    cut = int(len(ranked) * quantile)
    top, bottom = ranked[:cut], ranked[len(ranked) - cut :]
    if wanted < 1:
        return [], dropped
    if not cut:
        dropped[f"too few questions for the top {quantile:.0%}"] = wanted
        return [], dropped
    pairs = []
    chosen, rejected = _replies(top, wanted, per_reply, rng), _replies(bottom, wanted, per_reply, rng)
    for best, worst in zip(chosen, rejected, strict=True):
        margin = _mean_score(best) - _mean_score(worst)
        if margin <= 0:
            _count(dropped, "no margin")
            continue
        origin = Origin(step="top_bottom_pairs", parents=tuple(p.id for _, p in (*best, *worst)))
        pairs.append(
            Pair(
                prompt=prompts[best[0][1].id],
                chosen=write([p for _, p in best]),
                rejected=write([p for _, p in worst]),
                kind="question",
                margin=margin,
                context={"skill": best[0][1].skill},
                origin=origin,
            )
        )
    return pairs, dropped


def _mean_score(reply: Sequence[tuple[float, Problem]]) -> float:
    return sum(score for score, _ in reply) / len(reply)


def _replies(items: Sequence[tuple[float, Problem]], wanted: int, per_reply: int, rng: random.Random) -> list[list[tuple[float, Problem]]]:
    """`wanted` draws of up to `per_reply` different items; an item comes back only when all others have been drawn."""
    waiting: list[tuple[float, Problem]] = []
    replies = []
    for _ in range(wanted):
        reply: list[tuple[float, Problem]] = []
        while len(reply) < min(per_reply, len(items)):
            if not waiting:
                waiting = rng.sample(list(items), k=len(items))
            held = {p.id for _, p in reply}
            place = next((i for i, (_, p) in enumerate(waiting) if p.id not in held), None)
            if place is None:
                waiting = []
                continue
            reply.append(waiting.pop(place))
        replies.append(reply)
    return replies


def _count(dropped: dict[str, int], reason: str) -> None:
    dropped[reason] = dropped.get(reason, 0) + 1
