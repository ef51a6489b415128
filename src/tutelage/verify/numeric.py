"""Equality of numbers as people write them: units, currency, thousands, fractions, percent, powers of ten, number words."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from tutelage.records import Problem, Verdict
from tutelage.verify.extract import final_answer

DIGITS_LIMIT = 400
"""A run of more digits is a broken generation, not a number."""
EXPONENT_LIMIT = 400

_PLAIN = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,3}(?:[ \u00a0\u202f\u2009_']\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_EURO = r"\d{1,3}(?:\.\d{3})+,\d+|\d+,\d{1,2}(?![\d,])|\d+,\d{4,}(?![\d,])"
_NUMBER = re.compile(
    rf"(?P<sign>[-+]|\b(?:minus|negative)\s+)?\s*(?P<currency>[$£€¥₹]|\b(?:USD|EUR|GBP|Rs\.?)\s*)?\s*(?P<inner>-)?"
    rf"(?:(?P<whole>\d+)\s+(?P<n1>\d+)\s*/\s*(?P<d1>\d+)|(?P<n2>(?:{_PLAIN}))\s*/\s*(?P<d2>(?:{_PLAIN}))|(?P<euro>{_EURO})|(?P<plain>{_PLAIN}))"
    r"(?:[eE](?P<e>[-+]?\d{1,4})(?![\w.])|\s*(?:[x×*·]|\\times|\\cdot)\s*10\s*(?:\^|\*\*)\s*\{?\s*(?P<ten>[-+]?\d{1,4})\s*\}?)?"
    r"\s*(?P<percent>%|\bper\s?cent\b)?(?:\s*(?P<scale>hundred|thousand|million|billion|trillion)s?\b)?",
    re.IGNORECASE,
)
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_UNITS = [
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_WORDS = {w: i for i, w in enumerate(_UNITS)} | {w: 10 * (i + 2) for i, w in enumerate(_TENS)}
_SIMPLE = re.compile(r"-?\$?(?:\d{1,3}(?:,\d{3}){1,5}|\d{1,18})(?:\.\d{1,18})?", re.ASCII)
"""What most answers look like; the same number as the long way finds, sooner."""
_LARGE = re.compile(r"\b(?:hundred|thousand|million)\b", re.IGNORECASE)
_UNFINISHED = frozenset(
    {"point", "plus", "times", "minus", "percent", "half", "halves", "third", "thirds", "quarter", "quarters", "fourths", "fifths"}
    | {"sixths", "sevenths", "eighths", "ninths", "tenths", "hundredths"}
)
"""Number words that these go on are not understood, and not guessed at."""
_OPERATOR = re.compile(r"^\s*[+*/×÷^]\s*|^\s*-\s*(?=[\d(])|^\s*[-+]\s+(?=[A-Za-z(])")
_RANGE = re.compile(r"^[^\d]{0,12}?(?:\b(?:or|to|and|through|versus|vs)\b|[-–—~])\s*[$£€]?\d", re.IGNORECASE)


def numeric(problem: Problem, text: str, *, tolerance: float = 0.0) -> Verdict:
    """Whether the final answer in `text` equals the problem's number, exactly, or within `tolerance` relative to it.

    Units are not compared. A percentage equals both its face value and its hundredth (gold answers are written either way).
    `extracted` is the number in plain digits, or as a fraction where digits would not end. A reply that leaves a range or an unfinished
    sum is unparsed. So is every reply to a problem without an answer; what it extracts there can serve as the answer, and is None where
    the reply states no number.
    """
    found = final_answer(text)
    if found is None:
        return Verdict(score=0.0, parsed=False, reason="no final answer in the text")
    said = parse_number(found.value)
    if problem.answer is None:
        read = None if said is None else digits(said[0])
        return Verdict(score=0.0, extracted=read, parsed=False, reason="the problem has no answer to compare with")
    if said is None:
        return Verdict(score=0.0, extracted=found.value, parsed=False, reason="the answer is not one number")
    gold = parse_number(problem.answer)
    if gold is None:
        return Verdict(score=0.0, extracted=digits(said[0]), parsed=False, reason="the problem's own answer is not a number")
    right = any(_close(a, b, tolerance) for a in _readings(said) for b in _readings(gold))
    return Verdict(score=float(right), extracted=digits(said[0]), reason=found.rule)


def parse_number(value: str) -> tuple[Fraction, bool] | None:
    """The one number that `value` states, and whether it is a percentage; None where there is none or more than one could be meant.

    After an equals sign the last finished side counts: in "2 * 9 = 18 dollars" that is 18.
    """
    if _SIMPLE.fullmatch(value):
        return Fraction(value.replace(",", "").replace("$", "")), False
    value = _readable(value)
    sides = [side.strip() for side in re.split(r"=|≈|\\approx", value) if side.strip()]
    for side in reversed(sides):
        number = _first_number(side)
        if number is not None:
            return number
    return None


def digits(number: Fraction) -> str:
    """`number` without a needless fraction: `18`, `2.5`, `1/3`."""
    if number.denominator == 1:
        return str(number.numerator)
    rest = number.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1 or number.denominator > 10**30:
        return f"{number.numerator}/{number.denominator}"
    places = 0
    scaled = number
    while scaled.denominator != 1:
        scaled *= 10
        places += 1
    sign, whole = ("-" if scaled < 0 else ""), str(abs(scaled.numerator)).rjust(places + 1, "0")
    return f"{sign}{whole[:-places]}.{whole[-places:]}"


def _readable(value: str) -> str:
    value = re.sub(r"<<[^<>]*>>", "", value)  # calculator notes of GSM8K stand before the result they repeat
    value = re.sub(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r" \1/\2", value)
    value = re.sub(r"\\[dt]?frac\s*(\d)\s*(\d)", r" \1/\2", value)
    value = re.sub(r"\\(?:text|mathrm|mathbf|textbf|mbox)\{([^{}]*)\}", r" \1 ", value)
    value = value.replace("\\%", "%").replace("\\$", "$").replace("\\!", "").replace("{,}", ",").replace("\\,", " ").replace("\\ ", " ")
    value = re.sub(r"(?<=\d)([¼-¾⅐-⅞])", r" \1", value)
    value = re.sub(r"[¼-¾⅐-⅞]", lambda m: unicodedata.normalize("NFKC", m[0]).replace("⁄", "/"), value)
    value = re.sub(r"[０-９]", lambda m: unicodedata.normalize("NFKC", m[0]), value)
    value = re.sub(r"[−‐‑﹣－]", "-", value)
    return value.replace("⁄", "/").replace("**", " ").replace("`", "") if "10**" not in value else value.replace("⁄", "/")


def _first_number(side: str) -> tuple[Fraction, bool] | None:
    if any(len(run) > DIGITS_LIMIT for run in re.findall(r"\d+", side)):
        return None
    match = _NUMBER.search(side)
    while match and _glued(side, match):
        match = _NUMBER.search(side, match.end())
    if match is None:
        return _in_words(side)
    rest = side[match.end() :]
    if _OPERATOR.match(rest) or _RANGE.match(rest) or re.match(r"\s*:\s*\d", rest):
        return None
    if re.search(r"[\d)]\s*[-+*/×÷]\s*$", side[: match.start()]) or re.search(r"[A-Za-z)]\s*[+*/×÷]\s*$", side[: match.start()]):
        return None
    if match["sign"] and _is_operation(side, match):
        return None
    number = _value_of(match)
    return None if number is None else (number, bool(match["percent"]))


def _glued(side: str, match: re.Match[str]) -> bool:
    """Whether the number is a part of a word (`A4`, `x2`), of a date or of a list marker."""
    start = match.start() + len(match[0]) - len(match[0].lstrip())
    before = side[start - 1] if start else " "
    return before.isalnum() and (match["sign"] is None) and not match["currency"]


def _is_operation(side: str, match: re.Match[str]) -> bool:
    """Whether the sign joins the number to a term before it (`x + 2`, `x-2`) rather than being its own (`about -2`)."""
    at = match.start("sign")
    before, after = side[:at], side[match.end("sign") :]
    if not before.rstrip()[-1:].isalnum() and not before.rstrip().endswith(")"):
        return False
    return match["sign"] in ("+", "-") and (before == before.rstrip() or after[:1].isspace())


def _value_of(match: re.Match[str]) -> Fraction | None:
    try:
        if match["whole"] is not None:
            number = Fraction(match["whole"]) + Fraction(int(match["n1"]), int(match["d1"]))
        elif match["n2"] is not None:
            number = _decimal(match["n2"]) / _decimal(match["d2"])
        elif match["euro"] is not None:
            number = Fraction(match["euro"].replace(".", "").replace(",", "."))
        else:
            number = _decimal(match["plain"])
    except ZeroDivisionError:
        return None
    power = int(match["e"] or match["ten"] or 0)
    if abs(power) > EXPONENT_LIMIT:
        return None
    number *= Fraction(10) ** power
    number *= _SCALES.get((match["scale"] or "").lower(), 1)
    negative = (match["sign"] or "").strip().lower() in ("-", "minus", "negative") or bool(match["inner"])
    return -number if negative else number


def _decimal(written: str) -> Fraction:
    return Fraction(re.sub(r"[, \u00a0\u202f\u2009_']", "", written))


def _in_words(side: str) -> tuple[Fraction, bool] | None:
    """English number words: `eighteen`, `minus forty-two dollars`, `two hundred and five thousand`."""
    tokens = re.findall(r"[a-z]+", side.lower().replace("-", " "))
    total = current = 0
    begun = False
    negative = False
    for i, token in enumerate(tokens):
        if token in _WORDS:
            current += _WORDS[token]
            begun = True
        elif token == "hundred" and begun:
            current = max(current, 1) * 100
        elif token in _SCALES and begun:
            total += max(current, 1) * _SCALES[token]
            current = 0
        elif begun and token == "and" and i + 1 < len(tokens) and tokens[i + 1] in _WORDS and _LARGE.search(side):
            continue
        elif begun:
            if token in ("or", "to") and i + 1 < len(tokens) and tokens[i + 1] in _WORDS:
                return None
            if token in _UNFINISHED or (token == "and" and _UNFINISHED.intersection(tokens[i + 1 : i + 3])):
                return None
            break
        else:
            negative = token in ("minus", "negative")
    return (Fraction(-(total + current) if negative else total + current), False) if begun else None


def _readings(number: tuple[Fraction, bool]) -> tuple[Fraction, ...]:
    value, percent = number
    return (value, value / 100) if percent else (value,)


def _close(said: Fraction, gold: Fraction, tolerance: float) -> bool:
    return said == gold or (tolerance > 0 and abs(said - gold) <= Fraction(tolerance) * abs(gold))
