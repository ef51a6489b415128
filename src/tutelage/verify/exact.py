"""Equality of texts, after white space, case, outer quotes and a final full stop have been put aside."""

from __future__ import annotations

import re
import unicodedata

from tutelage.records import Problem, Verdict
from tutelage.verify.extract import final_answer, tidy

_SPACE = re.compile(r"\s+")


def exact(problem: Problem, text: str, *, case: bool = False, list_commas: bool = False, spaces: bool = True) -> Verdict:
    """Whether the final answer in `text` is the problem's answer, character for character after `plain`.

    `case`: letters must agree in case too. `list_commas`: "a, b, c" and "a b c" are the same list (word sorting).
    `spaces` False: white space does not count at all (brackets).
    """
    found = final_answer(text)
    if found is None:
        return Verdict(score=0.0, parsed=False, reason="no final answer in the text")
    if problem.answer is None:
        return Verdict(score=0.0, extracted=found.value, parsed=False, reason="the problem has no answer to compare with")
    said, gold = (plain(value, case=case, list_commas=list_commas, spaces=spaces) for value in (found.value, problem.answer))
    return Verdict(score=float(said == gold), extracted=found.value, reason=found.rule)


def plain(value: str, *, case: bool = False, list_commas: bool = False, spaces: bool = True) -> str:
    """The form in which two answers are compared."""
    value = unicodedata.normalize("NFKC", tidy(value))
    if list_commas:
        value = re.sub(r"[,;]\s*|\s+and\s+(?=\S+$)", " ", value)
    value = _SPACE.sub(" " if spaces else "", value).strip()
    return value if case else value.casefold()
