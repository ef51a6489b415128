"""`chains/12`, `chains/40`, `chains/5`: short sequences of words, each drawn from a class's own Markov chains; name the class.

A class has a main way of writing (eight texts in ten) and two rare ones. A way is a chain over a few of the world's words. Classes come in
pairs; the two of a pair share most words of their main way, and the transitions between them, so they are hard to tell apart. The words are
those of the bundled pair's vocabulary, so that it can read them under a class head; their meaning there plays no part.

Texts are drawn on the spot by split, and none is stored. Options: `seed_size`, `train_size`, `validation_size`, `test_size` (in all, not
per class), `test_seed`, `shared` (words of the main way that a pair has in common, of twelve) and `noise` (share of words drawn from all).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from tutelage.errors import SettingsError, did_you_mean
from tutelage.records import Origin, Problem
from tutelage.seeds import stream
from tutelage.tasks.options import Options
from tutelage.tasks.splits import prove_disjoint, without_repeats
from tutelage.tasks.task import Task
from tutelage.verify.choice import choice

NAME = "chains"
VERSION = "1"
LICENCE = "Apache-2.0"
CLASSES = (12, 40, 5)
WORDS = (
    *("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "ab", "ac", "bc", "a", "b", "c"),
    *("north", "east", "south", "west", "right", "back", "left", "face", "turn", "ball", "swap", "cash", "last", "digit", "of", "sum"),
    *("-5", "-4", "-3", "-2", "-1", "+1", "+2", "+3", "+4", "+5", "max", "min", "newest", "count", "even", "big", "odd", "all"),
    *("any", "low"),
)  # fmt: skip
OWN = 12
"""Words of one way of writing."""
WAYS = (0.8, 0.1, 0.1)
"""How often a class writes in each of its ways, the main one first."""
NEXT = (0.6, 0.3, 0.1)
"""How likely each of a word's three followers is."""
SHORTEST, LONGEST = 12, 20
SIZES = {"seed": 120, "train": 4000, "validation": 400, "test": 1000}
SHARED, NOISE = 10, 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One Markov chain."""

    words: tuple[str, ...]
    followers: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All classes of one size."""

    ways: Mapping[str, tuple[Way, ...]]
    noise: float

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.ways)

    def draw(self, label: str, rng: random.Random, *, way: int | None = None) -> str:
        """A text of the class, in the way named or one drawn by its frequency."""
        chain = self.ways[label][rng.choices(range(len(WAYS)), WAYS)[0] if way is None else way]
        word = rng.choice(chain.words)
        text = []
        for _ in range(rng.randint(SHORTEST, LONGEST)):
            text.append(rng.choice(WORDS) if rng.random() < self.noise else word)
            word = rng.choices(chain.followers[word], NEXT)[0]
        return " ".join(text)

    def nearest(self, label: str, text: str) -> int:
        """The way of the class that shares most words with the text."""
        words = text.split()
        return max(range(len(WAYS)), key=lambda i: sum(w in self.ways[label][i].words for w in words))


@cache
def world(classes: int, *, shared: int = SHARED, noise: float = NOISE) -> World:
    """The same for everybody: no seed of a run changes it."""
    ways: dict[str, tuple[Way, ...]] = {}
    twin: Way | None = None
    for number in range(classes):
        rng = stream(0, "chains", classes, number)
        main = _way(rng, twin if number % 2 else None, shared)
        ways[f"class_{number:02d}"] = (main, *(_way(rng, None, 0) for _ in WAYS[1:]))
        twin = main
    return World(ways=ways, noise=noise)


def _way(rng: random.Random, twin: Way | None, shared: int) -> Way:
    """A chain of its own, or one that has `shared` words, and what follows among them, from its twin."""
    common = list(rng.sample(twin.words, k=shared)) if twin is not None else []
    words = [*common, *rng.sample([w for w in WORDS if w not in (twin.words if twin is not None else ())], k=OWN - len(common))]
    followers = {}
    for word in words:
        drawn = tuple(rng.sample(words, k=len(NEXT)))
        kept = twin.followers[word] if twin is not None and word in common else ()
        followers[word] = kept if kept and set(kept) <= set(words) else drawn
    return Way(words=tuple(words), followers=followers)


def names() -> tuple[str, ...]:
    return tuple(f"{NAME}/{classes}" for classes in CLASSES)


def load(name: str, options: Mapping[str, Any]) -> Task:
    if name not in names():
        raise SettingsError(f"no task is called '{name}'", got=name, fix=did_you_mean(name, names()))
    chosen = Options(name, options)
    sizes = {split: chosen.whole(f"{split}_size", size, least=2) or size for split, size in SIZES.items()}
    test_seed = chosen.whole("test_seed", 0) or 0
    shared, noise = chosen.whole("shared", SHARED) or 0, chosen.share("noise", NOISE)
    chosen.done()
    if shared > OWN:
        raise SettingsError(f"option 'shared' of task '{name}' must be at most {OWN}", got=shared)
    here = world(int(name.partition("/")[2]), shared=shared, noise=noise)
    drawn = {split: _problems(here, split, size, seed=test_seed if split == "test" else 0) for split, size in sizes.items()}
    splits, dropped = without_repeats(drawn)
    prove_disjoint(splits)
    return Task(
        name=name,
        version=VERSION,
        licence=LICENCE,
        chance=1 / len(here.labels),
        description=f"Name the class of a sequence of words. The answer is one of {len(here.labels)} labels: {', '.join(here.labels)}.",
        verify=partial(choice, choices=here.labels),
        labels=here.labels,
        templated=True,
        dropped=dropped,
        options=dict(options),
        seed=splits["seed"],
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
    )


def _problems(here: World, split: str, count: int, *, seed: int) -> list[Problem]:
    """Classes in turn, so that every split has all of them alike."""
    rng = stream(seed, NAME, len(here.labels), split)
    labels = [here.labels[i % len(here.labels)] for i in range(count)]
    return [Problem(text=here.draw(label, rng), answer=label, skill=NAME, origin=Origin(step=f"task {NAME} {split}")) for label in labels]
