"""Rows of which some classes are common and others rare."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tutelage.errors import SettingsError
from tutelage.records import Problem


def skewed(problems: Sequence[Problem], *, wanted: int, exponent: float, rng: random.Random) -> list[Problem]:
    """`wanted` problems, every class (answer) at least once as long as they last, the class of rank r drawn in proportion to
    r ** -exponent (Zipf). Which class has which rank is drawn; 0 draws all classes alike. A class that is used up gives no more; fewer
    come back where there are fewer."""
    if exponent < 0:
        raise SettingsError("skew needs an exponent of at least 0", got=exponent)
    groups: dict[str, list[Problem]] = {}
    for problem in problems:
        groups.setdefault(problem.answer or "", []).append(problem)
    names = rng.sample(sorted(groups), k=len(groups))
    left = {name: rng.sample(groups[name], k=len(groups[name])) for name in names}
    share = {name: (rank + 1) ** -exponent for rank, name in enumerate(names)}
    found = [left[name].pop() for name in names][:wanted]
    while len(found) < wanted and (able := [name for name in names if left[name]]):
        found.append(left[rng.choices(able, [share[name] for name in able])[0]].pop())
    return found
