"""Edits and marks that look at the live student and its teacher, as descriptions. Torch-free; opened when a fit starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tutelage.errors import SettingsError, did_you_mean
from tutelage.train.readings import Scorer
from tutelage.train.sources import Edit, Facts, Marks, Rollout, identity_of
from tutelage.train.targets import Asking, Teacher

if TYPE_CHECKING:
    from tutelage.train.feeds import Site

IN_SPAN = "in_span"
"""The mark of a token whose predecessor stands in the same span."""
STATED = "stated"
"""The mark of the tokens with which a rollout states something of itself."""
PLACES = ("worst", "random")
WORDS = ("likeliest", "drawn")

Chunker = Callable[[str], Sequence[tuple[int, int]]]
"""(start, end) in characters of the parts of a text that belong together, in order."""


class Revised:
    """An edit for rollouts: each is cut at its worst token, the teacher's token stands there instead, and the student writes on from it.

    `at`: `worst` is the place where KL(teacher || student) is largest among those where the student's token is not the teacher's; `random`
    any place. `say`: the teacher's `likeliest` token there, or one `drawn` from it. `times`: how often, one after another. Where student
    and teacher say the same throughout, a rollout stays as it is. A corrected token has behaviour log-probability 0 (unknown).
    """

    def __init__(
        self,
        teacher: Any,
        *,
        max_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        times: int = 1,
        at: str = "worst",
        say: str = "likeliest",
        asked: Asking | None = None,
    ) -> None:
        """`max_tokens`, `temperature`, `top_p` and `stop` as in the source whose rollouts are edited."""
        for name, value, known in (("at", at, PLACES), ("say", say, WORDS)):
            if value not in known:
                raise SettingsError(f"revision has no such '{name}'", got=value, fix=did_you_mean(value, known))
        if times < 1:
            raise SettingsError("revision is done at least once", got=times)
        self.teacher = Teacher(teacher, asked=asked)
        self.max_tokens, self.temperature, self.top_p, self.stop = max_tokens, temperature, top_p, tuple(stop)
        self.times, self.at, self.say = times, at, say

    def describe(self) -> dict[str, Any]:
        sampling = [self.max_tokens, self.temperature, self.top_p, list(self.stop)]
        return {"revised": self.teacher.describe(), "sampling": sampling, "times": self.times, "at": self.at, "say": self.say}

    @property
    def reads(self) -> tuple[Scorer, int]:
        return self.teacher.scorers[0], self.times

    def open(self, site: Site) -> Edit:
        from tutelage.train.revising import Reviser

        return Reviser(self, site)


class Onward:
    """Marks `stated`: 1 for every token from a character on, where `begin` finds one in the rollout's text, ends included; else 0.

    A token that reaches beyond that character's beginning is marked, so that a space and a digit in one token count as the digit.
    """

    def __init__(self, begin: Callable[[str], int | None], *, by: str) -> None:
        """`by` names what `begin` looks for, for the fit's key."""
        self.begin, self.by = begin, by

    def describe(self) -> dict[str, Any]:
        return {"onward": self.by}

    def open(self, site: Site) -> Marks:
        from tutelage.train.revising import onward_marks

        def marks(rollouts: Sequence[Rollout]) -> list[Facts]:
            return [{STATED: onward_marks(site.rendering, r.ids, self.begin(r.text))} for r in rollouts]

        return marks


class InSpans:
    """Marks `in_span`: 1 for every token whose predecessor stands in the same part of the text, as `chunk` cuts it, else 0."""

    def __init__(self, chunk: Chunker) -> None:
        self.chunk = chunk

    def describe(self) -> dict[str, Any]:
        return {"in_spans": identity_of(self.chunk)}

    def open(self, site: Site) -> Marks:
        from tutelage.train.revising import SpanMarks

        return SpanMarks(self.chunk, site.rendering)
