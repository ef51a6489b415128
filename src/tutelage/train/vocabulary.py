"""Which ids mean the same to two models. Compared by the tokens themselves, never by the width of a table. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tutelage.errors import SettingsError

_LEAST = 0.95
"""Ordinary tokens that must agree, as a share of the smaller vocabulary, for two tokenizers to count as one family's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedVocabulary:
    """The ids on which student and teacher are compared. Both distributions are renormalised on them, so none other gets or takes mass."""

    ids: tuple[int, ...] | None
    """None where they are simply the first `size` ids."""
    size: int
    student_only: int = 0
    teacher_only: int = 0
    foreign: frozenset[int] = frozenset()
    """Ids of the student that mean something else, or nothing, to the teacher; a row that holds one cannot be shown to it."""


def shared_vocabulary(student: Any, teacher: Any) -> SharedVocabulary:
    """The common ids of two transformers tokenizers.

    Padded tables need nothing: ids without a token belong to neither tokenizer. Special tokens that one side added are left out.
    Tokenizers that differ in their ordinary tokens are refused.
    """
    mine, theirs = student.get_vocab(), teacher.get_vocab()
    common = sorted(i for token, i in mine.items() if theirs.get(token) == i)
    special = _special(student) | _special(teacher)
    ordinary = {t for t in mine if t not in special}, {t for t in theirs if t not in special}
    clashes = [t for t in ordinary[0] & ordinary[1] if mine[t] != theirs[t]]
    taken = {i: t for t, i in theirs.items() if t not in special}
    clashes += [t for t in ordinary[0] - ordinary[1] if mine[t] in taken]
    agreeing = sum(1 for t in ordinary[0] & ordinary[1] if mine[t] == theirs[t])
    if clashes or agreeing < _LEAST * min(len(ordinary[0]), len(ordinary[1])):
        shown = ", ".join(repr(t) for t in sorted(clashes)[:3])
        raise SettingsError(
            "student and teacher cut text into different tokens, so their distributions cannot be compared id by id",
            got=f"{len(mine)} and {len(theirs)} tokens, {agreeing} agree" + (f"; for example {shown} differ" if shown else ""),
            fix="use a teacher of the student's family, or let the teacher write texts and train on them with cross_entropy()",
        )
    whole = common == list(range(len(common)))
    return SharedVocabulary(
        ids=None if whole else tuple(common),
        size=len(common),
        student_only=len(mine) - len(common),
        teacher_only=len(theirs) - len(common),
        foreign=frozenset(mine.values()) - frozenset(common),
    )


def check_ends(student: Any, teacher: Any) -> None:
    """Refuse two renderings that end a text with different tokens, as a base model and its instructed sibling often do.

    At the end of a text the teacher would find the student's token all but impossible, and teach it not to end, or to end with a token
    at which nothing stops it.
    """
    mine, theirs = student.eos_id, teacher.eos_id
    if mine is None or mine == theirs:
        return
    named = [None if i is None else r.tokenizer.convert_ids_to_tokens(i) for r, i in ((student, mine), (teacher, theirs))]
    raise SettingsError(
        "student and teacher end a text with different tokens, so the teacher would teach the student not to end",
        got=f"{named[0]!r} ({mine}) and {named[1]!r} ({theirs})",
        fix="use a teacher that ends texts as the student does, or give a copy of the student the teacher's eos_token "
        "(tokenizer_config.json) and eos_token_id (generation_config.json)",
    )


def _special(tokenizer: Any) -> set[str]:
    return set(tokenizer.all_special_tokens) | set(tokenizer.get_added_vocab())
