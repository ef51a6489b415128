"""One task in one dialect: the render functions with everything filled in but the problem."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tutelage.prompts.dialects import Dialect
from tutelage.prompts.solve import render_plain, render_shots, render_technique
from tutelage.records import Problem, Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """How one model is spoken to about one task."""

    dialect: Dialect
    description: str
    answer_format: str

    def question_reply(self, problems: Sequence[Problem], *, first_id: int = 1) -> str:
        """Problems as they would stand in a reply to a question prompt."""
        return "\n".join(
            self.dialect.item.format(id=first_id + i, question=p.text, answer=p.answer if p.answer is not None else "")
            for i, p in enumerate(problems)
        )

    def plain(self, problem: Problem) -> Prompt:
        return render_plain(self.dialect, description=self.description, answer_format=self.answer_format, question=problem.text)

    def technique(self, name: str, instruction: str) -> Callable[[Problem], Prompt]:
        """A renderer that asks in this technique."""

        def render(problem: Problem) -> Prompt:
            return render_technique(
                self.dialect,
                description=self.description,
                answer_format=self.answer_format,
                question=problem.text,
                technique=name,
                instruction=instruction,
            )

        return render

    def shots(self, demonstrations: Sequence[tuple[str, str]]) -> Callable[[Problem], Prompt]:
        """A renderer that shows (question, rationale) demonstrations first."""

        def render(problem: Problem) -> Prompt:
            return render_shots(
                self.dialect,
                description=self.description,
                answer_format=self.answer_format,
                demonstrations=demonstrations,
                question=problem.text,
            )

        return render
