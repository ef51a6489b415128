"""Phrases of a text by its function words and punctuation: no tagger, no model.

After the "chinks and chunks" of Liberman and Church 1992: a phrase is a run of function words followed by a run of other words, so a new
one begins where a function word comes after a content word. English; in other languages (and in notations) only punctuation and line
ends cut.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*|[^\w\s]|_")
_WORDS = """
a an the this that these those my your his her its our their some any no each every either neither both all what which whose
i you he she it we they me him us them who whom one
about above across after against along among around as at before behind below beneath beside between beyond by despite down during except
for from in inside into like near of off on onto out outside over past since than through throughout till to toward towards under until up
upon with within without
and or but nor so yet if because although though while when where whether unless
am is are was were be been being do does did has have had having will would shall should can could may might must not
there here then therefore thus
"""
FUNCTION_WORDS = frozenset(_WORDS.split())


def phrases(text: str) -> list[tuple[int, int]]:
    """(start, end) in characters of every phrase, in order; they do not overlap and hold no punctuation but hyphens and apostrophes inside
    words."""
    found: list[tuple[int, int]] = []
    start: int | None = None
    end = 0
    content = False  # whether the open phrase has come to its content words
    for match in _WORD.finditer(text):
        word = match.group()
        if not word[0].isalnum():
            if start is not None:
                found.append((start, end))
            start, content = None, False
            continue
        functional = word.lower() in FUNCTION_WORDS
        if start is not None and ((functional and content) or "\n" in text[end : match.start()]):
            found.append((start, end))
            start, content = None, False
        start = match.start() if start is None else start
        end, content = match.end(), content or not functional
    if start is not None:
        found.append((start, end))
    return found
