"""`scripted:clinc150`, `scripted:chains-40`, `scripted:chains-5`: stand-ins for a language model that writes labelled texts.

The first writes nothing itself: it hands out real requests of CLINC150's training rows that the task does not show under `held_back=0.5`.
The others draw texts of the world of `chains/40` and `chains/5`. One text in ten has a wrong label.

All read the prompt as a language model would, and follow a fixed policy. Half of the texts are of labels drawn in proportion to 1 - F1 of
the report (an undefined F1 counts as 0; without a report all labels that are listed alike). Half are of the right label of a text that the
classifier gets wrong, surely wrong ones first, and like that text: one of the nearest held-back requests, or in the same way of writing.
Without such texts all are of the first kind; without a list of labels the examples' labels stand for it. So a comparison of prompts
tells whether the targeting that they allow helps, not whether a language model targets well.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache

from tutelage.backends.scripted import Script
from tutelage.hashing import digest
from tutelage.records import Prompt

HELD_BACK = 0.5
WRONG = 0.1
NEAREST = 5
"""A request near another is one of so many that share most words with it."""

_COUNT = re.compile(r"^Write (\d+) new examples", flags=re.MULTILINE)
_REPORTED = re.compile(r"^(.+?): \d+ texts, .*, F1 (undefined|\d\.\d\d)$", flags=re.MULTILINE)
_MISSED = re.compile(r'^<(wrong|surely_wrong) label="([^"]*)"[^>]*>(.*)</\1>$', flags=re.MULTILINE)
_EXAMPLE = re.compile(r'^<(?:example|right) label="([^"]*)"', flags=re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a prompt asks for."""

    count: int
    listed: tuple[str, ...]
    """The labels that the prompt tells."""
    weights: tuple[float, ...]
    """Of each of these."""
    missed: tuple[tuple[str, str], ...]
    """(right label, text), surely wrong ones first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """Where texts come from."""

    labels: tuple[str, ...]
    draw: Callable[[str, str, Collection[str], random.Random], str | None]
    """(label, text that it should be like or nothing, texts already taken, noise) -> a text, None where there is no more."""


def label_script(name: str) -> Script:
    """The script of that name."""
    supply = {"clinc150": _requests, "chains-40": lambda: _chains(40), "chains-5": lambda: _chains(5)}[name]

    def answer(prompt: Prompt, index: int, seed: int | None) -> str:
        rng = random.Random(digest(["label writer", name, prompt.id, index, seed]))
        request = read_request(prompt.text, supply().labels)
        return "" if request is None else json.dumps(_written(request, supply(), rng))

    return Script(name=name, answer=answer, version=f"1 {WRONG} {HELD_BACK} {NEAREST}")


def read_request(text: str, labels: Sequence[str]) -> Request | None:
    """None for a prompt that asks for something else. `labels` are those that the writer knows texts of."""
    counted = _COUNT.search(text)
    if counted is None:
        return None
    reported = {label: 0.0 if f1 == "undefined" else float(f1) for label, f1 in _REPORTED.findall(text)}
    words = set(re.findall(r"[\w-]+", text.partition("<")[0]))
    listed = tuple(labels) if set(labels) <= words else ()
    if not listed:
        listed = tuple(label for label in dict.fromkeys(_EXAMPLE.findall(text)) if label in labels)
    missed = sorted(_MISSED.findall(text), key=lambda row: row[0] != "surely_wrong")
    return Request(
        count=int(counted[1]),
        listed=listed,
        weights=tuple(1.0 - reported.get(label, 0.0) for label in listed),
        missed=tuple((label, said) for _, label, said in missed if label in labels),
    )


def _written(request: Request, supply: Supply, rng: random.Random) -> list[dict[str, str]]:
    items: list[dict[str, str]] = []
    taken: set[str] = set()
    for place in range(request.count):
        if request.missed and (place % 2 == 1 or not request.listed):
            label, like = request.missed[(place // 2) % len(request.missed)]
        elif request.listed:
            weights = request.weights if any(request.weights) else None
            label, like = rng.choices(request.listed, weights)[0], ""
        else:
            break
        text = supply.draw(label, like, taken, rng)
        if text is None:
            continue
        taken.add(text)
        wrong = rng.random() < WRONG
        items.append({"text": text, "label": rng.choice([x for x in supply.labels if x != label]) if wrong else label})
    return items


@cache
def _requests() -> Supply:
    from tutelage.tasks.clinc150 import held_rows

    held: dict[str, list[str]] = {}
    for problem in held_rows(HELD_BACK):
        held.setdefault(problem.answer or "", []).append(problem.text)

    def draw(label: str, like: str, taken: Collection[str], rng: random.Random) -> str | None:
        left = [text for text in held[label] if text not in taken]
        near = sorted(left, key=lambda text: -_alike(text, like))[:NEAREST] if like else left
        return rng.choice(near) if near else None

    return Supply(labels=tuple(sorted(held)), draw=draw)


@cache
def _chains(classes: int) -> Supply:
    from tutelage.tasks.chains import world

    here = world(classes)

    def draw(label: str, like: str, taken: Collection[str], rng: random.Random) -> str | None:
        del taken  # no two draws are alike
        return here.draw(label, rng, way=here.nearest(label, like) if like else None)

    return Supply(labels=here.labels, draw=draw)


def _alike(one: str, other: str) -> float:
    """Shared words over all words."""
    a, b = set(one.split()), set(other.split())
    return len(a & b) / max(1, len(a | b))
