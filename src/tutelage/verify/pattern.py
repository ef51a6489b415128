"""A regular expression that the answer must match. A pattern that runs away on a text is stopped."""

from __future__ import annotations

import regex

from tutelage.errors import DataError
from tutelage.records import Problem, Verdict
from tutelage.verify.extract import final_answer

LIMIT_S = 0.5


def pattern(problem: Problem, text: str, *, whole_text: bool = False) -> Verdict:
    """Whether the final answer matches `context["pattern"]` (else the problem's answer, read as a pattern) from end to end.

    With `whole_text` the text is searched instead, answer or not. A match that takes longer than half a second is unparsed.
    """
    expression = problem.context.get("pattern", problem.answer)
    if not isinstance(expression, str):
        return Verdict(score=0.0, parsed=False, reason="the problem has no pattern")
    try:
        compiled = regex.compile(expression)
    except regex.error as broken:
        raise DataError(f"pattern of a problem is not a regular expression: {broken}", got=expression[:200]) from broken
    found = None if whole_text else final_answer(text)
    if not whole_text and found is None:
        return Verdict(score=0.0, parsed=False, reason="no final answer in the text")
    try:
        matched = compiled.search(text, timeout=LIMIT_S) if found is None else compiled.fullmatch(found.value, timeout=LIMIT_S)
    except TimeoutError:
        return Verdict(score=0.0, parsed=False, reason=f"the pattern did not finish within {LIMIT_S} s")
    extracted = found.value if found is not None else (matched[0] if matched else None)
    return Verdict(score=float(matched is not None), extracted=extracted, reason="match" if matched else "no match")
