"""Words, sentences, paragraphs and occurrences of a word in a text.

Libraries differ, so the rules are these: a word is a run of letters and digits with inner apostrophes, hyphens, points or commas (a Chinese
or Japanese character counts as one); a sentence ends with . ! ? or their relatives before white space or the end, but not after an initial,
a known abbreviation or inside a number; paragraphs are divided by an empty line, or by a line `***` where that is asked.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"[぀-ヿ㐀-鿿]|[^\W_぀-ヿ㐀-鿿]+(?:[.,'’\-–][^\W_぀-ヿ㐀-鿿]+)*")
_ABBREVIATIONS = frozenset("mr mrs ms dr prof st vs etc e.g i.e no vol fig al jr sr inc ltd co a.m p.m u.s u.k approx dept est".split())  # noqa: SIM905
_END = re.compile(r"[.!?…。！？]+[\"'”’)\]*_]*(?=\s|$)|[。！？]+")


def words_of(text: str) -> list[str]:
    return _WORD.findall(text)


def sentences_of(text: str) -> list[str]:
    """The sentences, in order; a text without an end mark is one."""
    found: list[str] = []
    start = 0
    for end in _END.finditer(text):
        if end[0].startswith(".") and not _ends_here(text, end):
            continue
        if words_of(text[start : end.end()]):
            found.append(text[start : end.end()].strip())
        start = end.end()
    if words_of(text[start:]):
        found.append(text[start:].strip())
    return found


def _ends_here(text: str, stop: re.Match[str]) -> bool:
    """Whether a full stop ends a sentence: not after an abbreviation, an initial (J. Smith) or the number of a list item."""
    line = text[text.rfind("\n", 0, stop.start()) + 1 : stop.start()]
    word = (line.rsplit(None, 1)[-1:] or [""])[0].lstrip("(\"'“‘[")
    if word.lower() in _ABBREVIATIONS:
        return not text[stop.end() :].strip() or (text[stop.end() :].lstrip()[:1].isupper() and word.lower() in ("etc", "a.m", "p.m"))
    if text[stop.end() :].strip() == "":
        return True
    return not ((re.fullmatch(r"[A-Z]", word) and word != "I") or re.fullmatch(r"\s*\d{1,2}", line))


def paragraphs_of(text: str, separator: str = "blank") -> list[str]:
    pattern = r"\n[ \t]*\*\*\*[ \t]*(?:\n|$)" if separator == "***" else r"\n[ \t]*\n\s*"
    return [part.strip() for part in re.split(pattern, text.strip()) if part.strip()]


def occurrences_of(text: str, keyword: str) -> int:
    """Of a word or phrase as a whole, without regard to case; white space inside a phrase may be any."""
    pattern = r"\s+".join(map(re.escape, keyword.split()))
    return len(re.findall(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE)) if pattern else 0
