"""`navigate` and `tracking_shuffled_objects_three_objects`: questions, solvers and worked solutions."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.tasks.bbh_world_question import Question, Skill, words_of

# --- navigate ---------------------------------------------------------------------------------------------------------------------

FURTHEST = 10
"""Steps in one instruction."""
SHORTEST, LONGEST = 2, 9
"""Instructions in a question."""

_LEAD = "If you follow these instructions, do you return to the starting point? "
_ENDING = "\nOptions:\n- Yes\n- No"
_FORWARD = "Always face forward."
_WAYS = "NESW"
_SIDES = ("forward", "right", "backward", "left")
_TURNS = {"right": 1, "around": 2, "left": 3}
_TAKE = re.compile(r"Take (\d+) (steps?)(?: (forward|right|backward|left))?")
_TURN = re.compile(r"Turn (right|around|left)")
_PLACE = re.compile(r"(?:([NESW]) )?([EW]) (\d+) ([NS]) (\d+)")


def _take(count: int, side: str = "") -> str:
    return f"Take {count} step{'' if count == 1 else 's'}{' ' + side if side else ''}"


def _draw_navigate(rng: random.Random) -> str:
    """Questions that lead back are as rare as any others among free draws, so that half of all are made to lead back."""
    fixed = rng.random() < 0.5
    length = rng.randint(SHORTEST, LONGEST)
    back = rng.random() < 0.45
    while True:
        found = _free(rng, fixed, length)
        if back:
            found = _led_back(rng, found, fixed, length)
        if found is not None:
            return _LEAD + "".join(f"{i}. " for i in found).strip() + _ENDING


def _free(rng: random.Random, fixed: bool, length: int) -> list[str]:
    if fixed:
        return [_FORWARD.rstrip("."), *(_take(rng.randint(1, FURTHEST), rng.choice(_SIDES)) for _ in range(length))]
    turning = rng.uniform(0.2, 0.5)
    return [f"Turn {rng.choice(list(_TURNS))}" if rng.random() < turning else _take(rng.randint(1, FURTHEST)) for _ in range(length)]


def _led_back(rng: random.Random, found: list[str], fixed: bool, length: int) -> list[str] | None:
    """The first instructions of `found` and others that undo them; None where that does not come out at `length`."""
    kept = found[: 1 + rng.randrange(length)]
    place = _followed(kept)
    if fixed:
        undo = [_take(*part) for way, n in (("E", place.east), ("N", place.north)) for part in _undoing(rng, way, n)]
        rest = kept[1:] + undo
        rng.shuffle(rest)
        return [kept[0], *rest] if len(rest) == length else None
    if place.east and place.north:
        return None
    distance = abs(place.east or place.north)
    if distance == 0:
        return found if _followed(found).home else None
    wanted = {(True, True): "W", (True, False): "E", (False, True): "S", (False, False): "N"}[
        bool(place.east), (place.east or place.north) > 0
    ]
    quarter = (_WAYS.index(wanted) - _WAYS.index(place.heading)) % 4
    turns = {0: [], 1: ["right"], 2: rng.choice((["around"], ["around"], ["left", "left"], ["right", "right"])), 3: ["left"]}[quarter]
    out = [*kept, *(f"Turn {t}" for t in turns), *(_take(part) for part in _parts(rng, distance))]
    while len(out) < length and rng.random() < 0.3:
        out.append(f"Turn {rng.choice(list(_TURNS))}")
    return out if len(out) == length else None


def _undoing(rng: random.Random, way: str, n: int) -> list[tuple[int, str]]:
    side = {("E", True): "left", ("E", False): "right", ("N", True): "backward", ("N", False): "forward"}[way, n > 0]
    return [(part, side) for part in _parts(rng, abs(n))]


def _parts(rng: random.Random, distance: int) -> list[int]:
    """A distance in pieces of one instruction each."""
    out: list[int] = []
    while distance:
        most = min(FURTHEST, distance)
        part = most if rng.random() < 0.6 else rng.randint(1, most)
        out.append(part)
        distance -= part
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Steps east and north of the start, and the way one faces."""

    east: int = 0
    north: int = 0
    heading: str = "N"

    @property
    def home(self) -> bool:
        return self.east == self.north == 0

    def moved(self, count: int, side: str) -> _Place:
        way = _WAYS[(_WAYS.index(self.heading) + _SIDES.index(side)) % 4]
        east = self.east + {"E": count, "W": -count}.get(way, 0)
        north = self.north + {"N": count, "S": -count}.get(way, 0)
        return _Place(east=east, north=north, heading=self.heading)

    def turned(self, turn: str) -> _Place:
        return _Place(east=self.east, north=self.north, heading=_WAYS[(_WAYS.index(self.heading) + _TURNS[turn]) % 4])

    def followed(self, instruction: str) -> _Place:
        take, turn = _TAKE.fullmatch(instruction), _TURN.fullmatch(instruction)
        if take:
            return self.moved(int(take[1]), take[3] or "forward")
        return self.turned(turn[1]) if turn else self

    def written(self, heading: bool) -> str:
        place = f"{'E' if self.east >= 0 else 'W'} {abs(self.east)} {'N' if self.north >= 0 else 'S'} {abs(self.north)}"
        return f"{self.heading} {place}" if heading else place


def _followed(instructions: Sequence[str]) -> _Place:
    place = _Place()
    for instruction in instructions:
        place = place.followed(instruction)
    return place


def _read_place(text: str) -> _Place | None:
    found = _PLACE.fullmatch(text)
    if found is None:
        return None
    heading, way, east, pole, north = found.groups()
    return _Place(east=int(east) * (1 if way == "E" else -1), north=int(north) * (1 if pole == "N" else -1), heading=heading or "N")


def _read_navigate(text: str) -> Question | None:
    if not (text.startswith(_LEAD) and text.endswith(_ENDING)):
        return None
    body = text[len(_LEAD) : len(text) - len(_ENDING)]
    fixed = body.startswith(_FORWARD)
    body = body.removeprefix(_FORWARD).strip()
    if not body.endswith("."):
        return None
    given = body.removesuffix(".").split(". ")
    takes = [_TAKE.fullmatch(g) for g in given]
    for instruction, take in zip(given, takes, strict=True):
        if take is None and (fixed or not _TURN.fullmatch(instruction)):
            return None
        if take is not None and (not 1 <= int(take[1]) <= FURTHEST or (take[2] == "step") != (take[1] == "1") or bool(take[3]) != fixed):
            return None
    if not 1 <= len(given) <= LONGEST:
        return None
    return Question(skill="navigate", text=text, given=tuple(given), start=_Place().written(not fixed))


def _go(question: Question, state: str, given: str) -> str | None:
    place = _read_place(state)
    return None if place is None else place.followed(given).written(question.start.startswith("N "))


def _is_home(question: Question, state: str) -> str:
    place = _read_place(state)
    return "Yes" if place is not None and place.home else "No"


NAVIGATE = Skill(
    name="navigate",
    draw=_draw_navigate,
    read=_read_navigate,
    advance=_go,
    is_state=lambda state: _read_place(state) is not None,
    answer=_is_home,
    step="{given}: {state}.",
    split=lambda body: re.findall(r"[^.]+\.", body.replace(". ", ".")),
    words=lambda: (
        *words_of("If you follow these instructions do return to the starting point Always face forward Take step steps Turn around"),
        *words_of("left right backward Options Yes No - N E S W"),
        *(str(n) for n in range(41)),
    ),
    choices=("Yes", "No"),
)

# --- tracking ---------------------------------------------------------------------------------------------------------------------

PEOPLE = ("Alice", "Bob", "Claire")
_COLOURS = words_of("black blue brown green orange pink purple red white yellow")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """One of the five settings of the published questions."""

    opening: str
    has: str
    """Between a person and a thing at the start."""
    meanwhile: str
    swap: str
    closing: str
    """Field who."""
    things: tuple[str, ...]
    shown: str = "{thing}"
    """A thing in the opening."""


_SCENES = (
    _Scene(
        opening="are friends and avid readers who occasionally trade books. At the start of the semester, they each buy one new book:",
        has="gets",
        meanwhile="As the semester proceeds, they start trading around the new books.",
        swap="swap books",
        closing="At the end of the semester, {who} has",
        things=(
            "Catch-22", "Frankenstein", "Hound of the Baskervilles", "Lolita", "Moby Dick", "The Fellowship of the Ring",
            "The Great Gatsby",
            "The Odyssey", "The Pearl", "Ulysses",
        ),
    ),
    _Scene(
        opening="are dancers at a square dance. At the start of a song, they each have a partner:",
        has="is dancing with",
        meanwhile="Throughout the song, the dancers often trade partners.",
        swap="switch partners",
        closing="At the end of the dance, {who} is dancing with",
        things=("Helga", "Izzi", "Jamie", "Karl", "Lola", "Melissa", "Ophelia", "Patrick", "Rodrigo", "Sam"),
    ),
    _Scene(
        opening="are playing a game. At the start of the game, they are each holding a ball:",
        has="has a",
        meanwhile="As the game progresses, pairs of players trade balls.",
        swap="swap balls",
        closing="At the end of the game, {who} has the",
        things=tuple(f"{c} ball" for c in _COLOURS),
    ),
    _Scene(
        opening=(
            "are holding a white elephant gift exchange. At the start of the event, they are each holding a present of a different color:"
        ),
        has="has a",
        meanwhile="As the event progresses, pairs of people swap gifts.",
        swap="swap their gifts",
        closing="At the end of the event, {who} has the",
        things=tuple(f"{c} {'ball' if c in ('black', 'brown', 'pink', 'orange') else 'present'}" for c in _COLOURS),
    ),
    _Scene(
        opening="are on the same team in a soccer match. At the start of the match, they are each assigned to a position:",
        has="is playing",
        meanwhile="As the game progresses, pairs of players occasionally swap positions.",
        swap="trade positions",
        closing="At the end of the match, {who} is playing",
        things=(
            "benchwarmer", "center midfielder", "cheerleader", "fullback", "goalkeeper", "left midfielder", "left winger",
            "right midfielder", "right winger", "striker",
        ),
    ),
)  # fmt: skip
_ORDER = ("First", "Then", "Finally")


def _draw_tracking(rng: random.Random) -> str:
    scene = rng.choice(_SCENES)
    things = rng.sample(scene.things, 3)
    while True:
        swaps = [rng.sample(PEOPLE, 2) for _ in _ORDER]
        if len({frozenset(s) for s in swaps}) > 1:
            break
    return _worded(scene, things, swaps, rng.choice(PEOPLE))


def _worded(scene: _Scene, things: Sequence[str], swaps: Sequence[Sequence[str]], who: str) -> str:
    a, b, c = (f"{person} {scene.has} {thing}" for person, thing in zip(PEOPLE, things, strict=True))
    done = " ".join(f"{word}, {one} and {other} {scene.swap}." for word, (one, other) in zip(_ORDER, swaps, strict=True))
    options = "\n".join(f"({letter}) {thing}" for letter, thing in zip("ABC", things, strict=True))
    return (
        f"Alice, Bob, and Claire {scene.opening} {a}, {b}, and {c}.\n{scene.meanwhile} {done} {scene.closing.format(who=who)}\n"
        f"Options:\n{options}"
    )


_SWAP = re.compile(r"(First|Then|Finally), (\w+) and (\w+) ")
_OPTION = re.compile(r"^\([ABC]\) (.+)$", re.MULTILINE)
_HELD = re.compile(r"Alice ([ABC]) Bob ([ABC]) Claire ([ABC])")


def _read_tracking(text: str) -> Question | None:
    """Read what varies, then word it anew: anything that does not come out the same is not a question of this kind."""
    things, swaps = _OPTION.findall(text), _SWAP.findall(text)
    for scene in _SCENES:
        asked = [who for who in PEOPLE if f". {scene.closing.format(who=who)}\n" in text]
        if not asked or len(set(things)) != 3 or len(swaps) != 3 or not all({one, other} < set(PEOPLE) for _, one, other in swaps):
            continue
        if _worded(scene, things, [s[1:] for s in swaps], asked[0]) == text:
            given = tuple(f"{word}, {one} and {other}" for word, one, other in swaps)
            return Question(
                skill="tracking_shuffled_objects_three_objects", text=text, given=given, start="Alice A Bob B Claire C", asked=asked[0]
            )
    return None


def _exchange(question: Question, state: str, given: str) -> str | None:
    found, swap = _HELD.fullmatch(state), _SWAP.match(given + " ")
    if found is None or swap is None:
        return None
    held: dict[str, str] = dict(zip(PEOPLE, found.groups(), strict=True))
    held[swap[2]], held[swap[3]] = held[swap[3]], held[swap[2]]
    return " ".join(f"{person} {letter}" for person, letter in held.items())


def _look_up(question: Question, state: str) -> str:
    """Naming the person first makes two short looks of a long one: who is asked for stands far up in the question."""
    letter = _held_by(question, state).strip("()")
    return f"{question.asked} has {letter}."


def _held_by(question: Question, state: str) -> str:
    found = _HELD.fullmatch(state)
    return "" if found is None else f"({found[1 + PEOPLE.index(question.asked)]})"


def _scene_words() -> tuple[str, ...]:
    texts = [f"{s.opening} {s.has} {s.meanwhile} {s.swap} {s.closing.format(who='')} {' '.join(s.things)}" for s in _SCENES]
    return tuple(w for text in texts for w in re.findall(r"[A-Za-z]+", text) if len(w) > 1)


TRACKING = Skill(
    name="tracking_shuffled_objects_three_objects",
    draw=_draw_tracking,
    read=_read_tracking,
    advance=_exchange,
    is_state=lambda state: _HELD.fullmatch(state) is not None,
    answer=_held_by,
    closing=_look_up,
    step="{given}: {state}.",
    split=lambda body: re.findall(r"[^.]+\.", body.replace(". ", ".")),
    words=lambda: (*PEOPLE, *_ORDER, *_scene_words(), "a", "and", "Options", "A", "B", "C"),
    choices=("(A)", "(B)", "(C)"),
)
