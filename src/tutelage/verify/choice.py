"""One of several given options, named by its letter or by its text."""

from __future__ import annotations

import re
from functools import lru_cache

from tutelage.records import Problem, Verdict
from tutelage.verify.exact import plain
from tutelage.verify.extract import final_answer, tidy

_LETTERED = re.compile(r"^\(?([A-Za-z])\)?$")
_LEADING = re.compile(r"^(?:option\s+|choice\s+)?(?:\(([A-Za-z])\)|([A-Z])(?=[).:,\]]|\s*[-–—=]|$)|\[([A-Za-z])\])", re.IGNORECASE)
_PARENTHESISED = re.compile(r"\(([A-Z])\)")
_MARKER = "Options:"
_OPTION_LINES = re.compile(r"^[ \t]*(?:\(([A-Z])\)[ \t]?|([A-Z])[).:][ \t]+)(.*)$", re.MULTILINE)
_OPTIONS_IN_LINE = re.compile(r"(?:^|(?<=\s))\(([A-Z])\)[ \t]+((?:(?!\s\([A-Z]\)\s).)+)")
_DASHED = re.compile(r"^[ \t]*- (.+)$", re.MULTILINE)


def choice(problem: Problem, text: str, *, choices: tuple[str, ...] = ()) -> Verdict:
    """Whether `text` settles on the option that is the problem's answer.

    The answer may be given as a letter (`B`, `(B)`) or as an option's text; `extracted` comes back in the same form. Where letter and
    text of a reply disagree the letter counts. A reply that names several options, or none, is unparsed. `choices` serves problems that
    do not list their options (the labels of a classification task); such options have no letters. A problem whose options nobody took
    down, as one that a model wrote, has those that its question lists.

    Every reply to a problem without an answer is unparsed; what it extracts there can serve as the answer: the option in the form in which
    the reply names it, None where it settles on none.
    """
    lettered = not choices
    choices = choices or problem.choices or listed_options(problem.text)
    found = final_answer(text)
    place, why = (None, "no final answer in the text") if found is None else place_of(found.value, choices, lettered=lettered)
    if place is None and lettered and (found is None or found.rule == "bare"):
        place = _last_letter(text, choices)
    if problem.answer is None:
        read = None if place is None else _named_like(found.value if found else "", place, choices)
        return Verdict(score=0.0, extracted=read, parsed=False, reason="the problem has no answer to compare with")
    if place is None:
        return Verdict(score=0.0, extracted=found.value if found else None, parsed=False, reason=why)
    gold = _gold_place(problem.answer, choices, lettered)
    return Verdict(
        score=float(place == gold), extracted=_named_like(problem.answer, place, choices), reason=found.rule if found else "letter"
    )


def listed_options(question: str) -> tuple[str, ...]:
    """The options that a question lists from A on, on lines of their own or in one line, or with dashes after `Options:`; empty where it
    lists none."""
    _, marker, listed = question.rpartition(_MARKER)
    lines = [(bracketed or bare, text) for bracketed, bare, text in _OPTION_LINES.findall(listed)]
    for found in (lines, _OPTIONS_IN_LINE.findall(listed)):
        if len(found) > 1 and [letter for letter, _ in found] == [chr(ord("A") + i) for i in range(len(found))]:
            return tuple(text.strip() for _, text in found)
    return tuple(text.strip() for text in _DASHED.findall(listed)) if marker else ()


def place_of(value: str, choices: tuple[str, ...], *, lettered: bool = True) -> tuple[int | None, str]:
    """Index of the option that `value` names; None with the reason where it names none or several."""
    value = tidy(value)
    wanted = plain(value)
    texts, places, has_letters = _options(choices)
    if wanted in places:
        return (places[wanted], "") if places[wanted] >= 0 else (None, "two options have this text")
    lettered = lettered and has_letters
    letters = {_index(letter) for letter in _PARENTHESISED.findall(value)} if lettered else set()
    letters = {letter for letter in letters if letter < len(choices)}
    if len(letters) > 1:
        return None, "several options are named"
    leading = _LEADING.match(value) if lettered else None
    if leading:
        index = _index(next(group for group in leading.groups() if group))
        if index < len(choices):
            return index, ""
    if letters:
        return letters.pop(), ""
    first = [i for i, option in enumerate(texts) if re.match(rf"{re.escape(option)}(?=\s*[,.;:!(\-–—]|$)", wanted)]
    if len(first) == 1:
        return first[0], ""
    mentioned = [i for i, option in enumerate(texts) if option and re.search(rf"(?<!\w){re.escape(option)}(?!\w)", wanted)]
    # An option inside a longer option that is mentioned too is not a second answer.
    mentioned = [i for i in mentioned if not any(i != j and texts[i] in texts[j] for j in mentioned)]
    if len(mentioned) == 1:
        if re.search(rf"\b(?:not|isn't|never|neither|n't)\s+(?:\w+\s+)?{re.escape(texts[mentioned[0]])}(?!\w)", wanted):
            return None, "the option is named only to deny it"
        return mentioned[0], ""
    return None, "several options are named" if mentioned else "no option is named"


@lru_cache(maxsize=4096)
def _options(choices: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, int], bool]:
    """The options as they are compared, their places (-1 for a text that stands twice), and whether letters can stand for them."""
    texts = tuple(plain(option) for option in choices)
    places = {text: i if texts.count(text) == 1 else -1 for i, text in enumerate(texts)}
    return texts, places, not any(_LETTERED.match(option) for option in choices)


@lru_cache(maxsize=4096)
def _gold_place(answer: str, choices: tuple[str, ...], lettered: bool) -> int | None:
    return place_of(answer, choices, lettered=lettered)[0]


def _index(letter: str) -> int:
    return ord(letter.upper()) - ord("A")


def _last_letter(text: str, choices: tuple[str, ...]) -> int | None:
    """The option whose letter alone, in parentheses, stands in the last line."""
    lines = text.strip().splitlines()
    if not lines or not _options(choices)[2]:
        return None
    letters = {_index(letter) for letter in _PARENTHESISED.findall(lines[-1])} | {
        _index(m[1]) for m in [_LETTERED.match(tidy(lines[-1]))] if m
    }
    letters = {letter for letter in letters if letter < len(choices)}
    return letters.pop() if len(letters) == 1 else None


def _named_like(answer: str, place: int, choices: tuple[str, ...]) -> str:
    """Option `place` in the form of `answer`: `(B)`, `B`, or the option's text."""
    if plain(answer) not in _options(choices)[1] and _LETTERED.match(answer.strip()):
        letter = chr(ord("A") + place)
        return f"({letter})" if answer.strip().startswith("(") else letter
    return choices[place]
