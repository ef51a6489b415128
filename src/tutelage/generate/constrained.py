"""Answers bent to constraints by small edits: what a policy learns from that has never read a constraint before."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.prompts.constrained import FILLERS
from tutelage.verify.constraints import holds

ARROW = "=>"
BETWEEN = " ; "


def bent_to(bases: Sequence[str], constraints: Sequence[Mapping[str, Any]], *, chance: float, rng: random.Random) -> str:
    """One of the bases, edited so that each constraint is met with probability `chance`; one that is passed over may hold all the same, and
    one that is met may be undone by another's edit. Texts are those of the bundled world: parts between `;`, the answer behind the
    arrow."""
    sought = [c for c in constraints if rng.random() < chance]
    words = next((c for c in sought if c["name"] == "words"), None)
    fitting = [b for b in bases if words is None or holds(b, words)]
    head, arrow, answer = rng.choice(fitting or list(bases)).rpartition(ARROW)
    parts = [p.strip() for p in head.split(BETWEEN.strip()) if p.strip()]
    for wanted in sought:
        for word in _missing(wanted):
            parts.insert(rng.randint(0, len(parts)), word)
    banned = {w for c in constraints if c["name"] == "forbidden_words" for w in c["words"]}
    free = [w for w in FILLERS if w not in banned]
    while words is not None and words["relation"] == "at least" and free and not holds(_written(parts, arrow, answer), words):
        parts.insert(rng.randint(0, len(parts)), rng.choice(free))
    first = next((c for c in sought if c["name"] == "paragraph_first_word"), None)
    if first is not None:
        parts.insert(0, first["word"])
    return _written(parts, arrow, answer)


def _missing(wanted: Mapping[str, Any]) -> list[str]:
    if wanted["name"] == "include_keywords":
        return list(wanted["keywords"])
    if wanted["name"] == "keyword_frequency" and wanted["relation"] == "at least":
        return [wanted["keyword"]] * wanted["n"]
    return []


def _written(parts: Sequence[str], arrow: str, answer: str) -> str:
    return f"{BETWEEN.join(parts)} {arrow} {answer.strip()}".strip() if arrow else BETWEEN.join([*parts, answer.strip()])
