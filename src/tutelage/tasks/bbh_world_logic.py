"""`web_of_lies` and `boolean_expressions`: questions, solvers and worked solutions.

A chain of claims is followed claim by claim with a verdict each. An expression is read word by word with a letter each, the state of
an automaton; the letters have no meaning to a reader, but they stand at one fixed distance from the word they belong to.
"""

from __future__ import annotations

import functools
import random
import re
import string

from tutelage.tasks.bbh_world_question import Question, Skill, words_of

# --- web of lies ------------------------------------------------------------------------------------------------------------------

CLAIMS = 4
"""After the first sentence, as in every published question."""

_LISTED = words_of(
    "Aaron Abigail Adele Albert Alma Amos Angus Anita Arthur Astrid Barbara Beatrix Benedict Bertram Bianca Boris Brenda "
    "Bruno Camilla Carlos Cecil Celeste Cedric Clara Clement Conrad Cora Cyril Dagmar Damian Daphne Desmond Dexter Diana "
    "Dolores Donovan Dora Duncan Edgar Edith Edmund Eileen Elmer Elsa Emil Enrique Ernest Esther Eugene Faye Felix Ferdinand "
    "Fiona Flora Floyd Frieda Gareth Gerda Gideon Gilbert Gloria Gordon Greta Gustav Harold Harriet Hazel Hector Heidi Hilda "
    "Horace Hugo Ida Ignacio Irene Isaac Isolde Ivan Jasper Joan Joachim Josefa Judith Julius Karim Katya Keith Kenji Kirsten "
    "Lars Laura Leonard Leticia Lionel Liselotte Lorenzo Lucinda Luther Mabel Magnus Malcolm Manuela Marcus Margot Marvin "
    "Matilda Mercedes Minerva Mohamed Muriel Nadia Nathan Neville Nigel Nora Norbert Octavia Olaf Olga Oscar Otto Pablo "
    "Pamela Pascal Paula Percy Petra Philippa Quentin Ramona Ralph Regina Rita Roland Rosa Rufus Ruth Samuel Sandra Saul "
    "Selma Sidney Silvia Simon Sonia Stella Sven Sylvester Tabitha Thelma Theodore Tobias Trudy Ursula Valerie Vera Victor "
    "Viola Vivian Wallace Walter Wanda Wilbur Winifred Xavier Yasmin Yvette Zachary Zelda"
)
_FIRST = words_of("B C D F G H J K L M N P R S T V W Z Br Ch Cr Dr Fl Gr Ph Sh St Th Tr Kr Kl Sch Sal Mar Del Cal Ser Tan")
_VOWEL = words_of("a e i o u a e i o ee ia ea ie ay au ai y")
_MIDDLE = words_of("b d f g h l m n p r s t v c k z ll nn rr ss tt nd nt rt rd lm st sh ch th ph lv nc ng x w")
_LAST = ["", "", "", "", "n", "r", "s", "l", "e", "ne", "nn", "lla", "tte", "th", "ly", "ck", "m", "d", "t"]


def draw_name(rng: random.Random) -> str:
    """A name from a list, or one that nobody bears: what is learned must be copying, not the names."""
    if rng.random() < 0.3:
        return rng.choice(_LISTED)
    name = rng.choice(_FIRST) if rng.random() < 0.8 else rng.choice("AEIOUY") + rng.choice(_MIDDLE)
    for place in range(rng.choice((1, 1, 2, 2, 3))):
        name += (rng.choice(_MIDDLE) if place else "") + rng.choice(_VOWEL)
    return name + rng.choice(_LAST)


def _draw_web(rng: random.Random) -> str:
    people: list[str] = []
    while len(people) < CLAIMS + 1:
        name = draw_name(rng)
        if name not in people:
            people.append(name)
    said = [rng.choice(("tells the truth", "lies")) for _ in people]
    claims = [f"{who} says {of} {what}." for who, of, what in zip(people[1:], people, said[1:], strict=False)]
    return f"Question: {people[0]} {said[0]}. {' '.join(claims)} Does {people[-1]} tell the truth?"


_WEB = re.compile(r"Question: (?P<body>.+\.) Does (?P<asked>\w+) tell the truth\?")
_OPENING = re.compile(r"(\w+) (tells the truth|lies)")
_CLAIM = re.compile(r"(\w+) says (\w+) (tells the truth|lies)")


def _read_web(text: str) -> Question | None:
    found = _WEB.fullmatch(text)
    if found is None:
        return None
    sentences = found["body"].removesuffix(".").split(". ")
    opening = _OPENING.fullmatch(sentences[0])
    claims = [_CLAIM.fullmatch(s) for s in sentences[1:]]
    if opening is None or not claims or not all(claims):
        return None
    people = [opening[1], *(c[1] for c in claims if c)]
    if [c[2] for c in claims if c] != people[:-1] or len(set(people)) != len(people) or people[-1] != found["asked"]:
        return None
    return Question(skill="web_of_lies", text=text, given=tuple(sentences), start="", asked=found["asked"])


def _judge(question: Question, state: str, given: str) -> str | None:
    """Yes where the person whom the sentence begins with tells the truth."""
    honest = given.endswith("tells the truth")
    claim = _CLAIM.fullmatch(given)
    return "Yes" if (honest if claim is None else honest == (state == "Yes")) else "No"


WEB = Skill(
    name="web_of_lies",
    draw=_draw_web,
    read=_read_web,
    advance=_judge,
    is_state=lambda state: state in ("Yes", "No"),
    answer=lambda question, state: state,
    step="{given}: {state}.",
    split=lambda body: re.findall(r"[^.]+\.", body.replace(". ", ".")),
    words=lambda: words_of("Question says tells the truth lies Does tell Yes No Answer"),
    choices=("Yes", "No"),
)

# --- boolean expressions ----------------------------------------------------------------------------------------------------------

LENGTH = 8
"""Words of an expression without the final `is`, as in every published question."""

_VALUES = ("True", "False")
_SYMBOLS = (*_VALUES, "and", "or", "not", "(", ")")
_LETTERS = string.ascii_lowercase + string.ascii_uppercase


@functools.cache
def _terms(length: int) -> tuple[str, ...]:
    """Every operand of that many words: a value or a parenthesis, negated any number of times."""
    if length < 1:
        return ()
    found = list(_VALUES) if length == 1 else []
    found += [f"not {t}" for t in _terms(length - 1)]
    found += [f"( {e} )" for e in _expressions(length - 2)]
    return tuple(found)


@functools.cache
def _expressions(length: int) -> tuple[str, ...]:
    """Every expression of that many words."""
    found = list(_terms(length))
    for head in range(1, length - 1):
        found += [f"{t} {op} {e}" for t in _terms(head) for op in ("and", "or") for e in _expressions(length - head - 1)]
    return tuple(found)


def _draw_boolean(rng: random.Random) -> str:
    return rng.choice(_expressions(LENGTH)) + " is"


def _read_boolean(text: str) -> Question | None:
    given = text.split()
    if given[-1:] != ["is"] or any(w not in _SYMBOLS for w in given[:-1]) or len(given) != LENGTH + 1:
        return None
    if " ".join(given[:-1]) not in _all():
        return None
    return Question(skill="boolean_expressions", text=text, given=tuple(given[:-1]), start=_LETTERS[_numbers()["t"]])


@functools.cache
def _all() -> frozenset[str]:
    return frozenset(_expressions(LENGTH))


def _after(stack: str, symbol: str) -> str:
    """The automaton. One character per open level: what the operand that comes next does to the level's value.

    `t` it becomes the value of the running conjunction, `!` its negation does, `f` the conjunction is false whatever comes, `1` the level
    is true whatever comes. A level inside one that is decided is written `*`, since it has no influence.
    """
    outer, top = stack[:-1], stack[-1]
    if symbol == "(":
        return stack + ("*" if top in "f1*" else "t") if stack != "1" else stack
    if stack == "1":
        return stack
    if symbol == ")":
        if top == "*":
            return outer
        return _operand(outer, value=top in "t1")
    if symbol in _VALUES:
        return _operand(stack, value=symbol == "True")
    if top in "1*":
        return stack
    if symbol == "not":
        return outer + {"t": "!", "!": "t", "f": "f"}[top]
    if symbol == "or":
        return outer + ("1" if top == "t" else "t")
    return stack


def _operand(stack: str, *, value: bool) -> str:
    outer, top = stack[:-1], stack[-1]
    if top in "t!":
        return outer + ("t" if value == (top == "t") else "f")
    return stack


@functools.cache
def _numbers() -> dict[str, int]:
    """State -> number, in the order in which the list of all expressions first reaches it."""
    found = {"t": 0}
    for expression in _expressions(LENGTH):
        stack = "t"
        for symbol in expression.split():
            stack = _after(stack, symbol)
            found.setdefault(stack, len(found))
    return found


def _read_symbol(question: Question, state: str, given: str) -> str | None:
    stacks = list(_numbers())
    number = _LETTERS.index(state)
    if number >= len(stacks):
        return None
    after = _numbers().get(_after(stacks[number], given)) if given != ")" or len(stacks[number]) > 1 or stacks[number] == "1" else None
    return None if after is None else _LETTERS[after]


def _value(question: Question, state: str) -> str:
    """A state of several levels has no value: the expression is not over."""
    stacks = list(_numbers())
    stack = stacks[_LETTERS.index(state)] if _LETTERS.index(state) < len(stacks) else "*"
    return {"t": "True", "1": "True", "f": "False"}.get(stack, "")


BOOLEAN = Skill(
    name="boolean_expressions",
    draw=_draw_boolean,
    read=_read_boolean,
    advance=_read_symbol,
    is_state=lambda state: len(state) == 1 and state in _LETTERS,
    answer=_value,
    step="{state}",
    split=str.split,
    words=lambda: (*_SYMBOLS, "is", *_LETTERS[: len(_numbers())]),
    choices=_VALUES,
)
