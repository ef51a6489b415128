"""`object_counting`: questions, solver and worked solutions."""

from __future__ import annotations

import random
import re

from tutelage.tasks.bbh_world_question import Question, Skill, words_of

KINDS: dict[str, tuple[str, ...]] = {
    "vegetables": (
        "cabbage", "carrot", "cauliflower", "garlic", "head of broccoli", "lettuce head", "onion", "potato", "stalk of celery", "yam",
    ),
    "fruits": ("apple", "banana", "blackberry", "grape", "nectarine", "orange", "peach", "plum", "raspberry", "strawberry"),
    "animals": (
        "bear", "cat", "chicken", "cow", "dog", "donkey", "duck", "fish", "frog", "goat", "mouse", "pig", "rabbit", "snail", "snake",
    ),
    "musical instruments": ("accordion", "clarinet", "drum", "flute", "piano", "trombone", "trumpet", "violin"),
    "objects": ("bed", "car", "chair", "couch", "fridge", "lamp", "microwave", "oven", "stove", "table", "toaster"),
}  # fmt: skip
"""The kinds that questions ask for. Everything is an object."""

SIGNS = {"vegetables": "vegetable", "fruits": "fruit", "animals": "animal", "musical instruments": "musical", "objects": "object"}
"""How a solution names the kind of an item: one word each."""

COUNTS = {"a": 1, "an": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_WORD = {2: "two", 3: "three", 4: "four", 5: "five"}
SHORTEST, LONGEST = 2, 12
"""Items in a list."""

_MANY = {"mouse": "mice", "fish": "fish", "potato": "potatoes", "couch": "couches", "peach": "peaches"}


def plural(thing: str) -> str:
    if " of " in thing:
        head, rest = thing.split(" ", 1)
        return f"{head}s {rest}"
    if thing in _MANY:
        return _MANY[thing]
    return f"{thing[:-1]}ies" if thing.endswith("ry") else f"{thing}s"


_KIND = {form: kind for kind, things in KINDS.items() for thing in things for form in (thing, plural(thing))}
_SINGLE = frozenset(thing for things in KINDS.values() for thing in things)
_SEVERAL = frozenset(plural(thing) for thing in _SINGLE)
_TEXT = re.compile(r"I have (?P<list>.+)\. How many (?P<kind>[a-z ]+) do I have\?")


def _item(rng: random.Random, thing: str) -> str:
    count = rng.choices((1, 2, 3, 4, 5), weights=(0.76, 0.11, 0.07, 0.04, 0.02))[0]
    if count == 1:
        return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"
    return f"{_WORD[count]} {plural(thing)}"


def _draw_counting(rng: random.Random) -> str:
    """Items that do not count are more frequent than in the published questions, since they are what is hard."""
    kind = rng.choice(list(KINDS))
    things = rng.sample(KINDS[kind], rng.randint(SHORTEST, min(9, len(KINDS[kind]))))
    if rng.random() < 0.5 and kind != "objects":
        other = rng.choice([k for k in KINDS if k != kind])
        things += rng.sample(KINDS[other], rng.randint(1, min(3, LONGEST - len(things))))
        rng.shuffle(things)
    items = [_item(rng, thing) for thing in things]
    return f"I have {', '.join(items[:-1])}, and {items[-1]}. How many {kind} do I have?"


def _read_counting(text: str) -> Question | None:
    found = _TEXT.fullmatch(text)
    if found is None or found["kind"] not in KINDS:
        return None
    items, comma, last = found["list"].rpartition(", and ")
    given = (*items.split(", "), last) if comma else (last,)
    for item in given:
        count, _, thing = item.partition(" ")
        if count not in COUNTS or thing not in (_SINGLE if COUNTS[count] == 1 else _SEVERAL):
            return None
    return Question(skill="object_counting", text=text, given=given, start="0", asked=found["kind"])


def _add(question: Question, state: str, given: str) -> str | None:
    """The kind of the item, what it adds, and the sum so far."""
    count, _, thing = given.partition(" ")
    kind = _KIND[thing]
    adds = COUNTS[count] if question.asked in (kind, "objects") else 0
    return f"{SIGNS[kind]} {adds}, {int(state.split()[-1]) + adds}"


_STATE = re.compile(rf"(?:{'|'.join(SIGNS.values())}) \d+, \d+")

COUNTING = Skill(
    name="object_counting",
    draw=_draw_counting,
    read=_read_counting,
    advance=_add,
    is_state=lambda state: _STATE.fullmatch(state) is not None,
    answer=lambda question, state: state.split()[-1],
    step="{given}: {state}.",
    split=lambda body: re.findall(r"[^.]+\.", body.replace(". ", ".")),
    words=lambda: (
        *words_of("I have How many do"),
        *COUNTS,
        *(w for thing in _KIND for w in thing.split()),
        *(w for kind in KINDS for w in kind.split()),
        *SIGNS.values(),
    ),
)
