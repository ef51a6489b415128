"""What a teacher can put into words about skills: which there are, what a student lacks, what a skill falls into.

Models that can only go on from text name nothing; policies then work with solved problems alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tutelage.classroom.policies import Name, name_nothing
from tutelage.errors import CapabilityError
from tutelage.generate.skills import discover_skills
from tutelage.lab import Lab, Role
from tutelage.prompts.weakness import can_name, parse_subskills, parse_weaknesses, render_subskills, render_weaknesses
from tutelage.records import Problem, Prompt, Solution

ERRORS_SHOWN = 10
"""Errors behind which weaknesses are looked for in one call; ours."""


def by_discovered_skill(
    lab: Lab, teacher: Role, seed: Sequence[Solution], validation: Sequence[Problem], *, at_most: int, max_tokens: int
) -> tuple[list[Solution], list[Problem]]:
    """The same problems, each under the skill that the teacher found it to take (DataEnvGym, skill discovery)."""
    if not can_name(teacher.wording.dialect):
        raise CapabilityError(
            "the teacher can name no skills: it only goes on from text",
            got=teacher.ref.name,
            fix="--set discover=0, or a teacher that follows instructions",
        )
    found = discover_skills(
        teacher,
        [*(x.problem for x in seed), *validation],
        description=teacher.wording.description,
        sampling=lab.sampling("skills", max_tokens=max_tokens),
        at_most=at_most,
    )
    lab.note("skills", {"calls": found.calls, "unread": found.unread, "problems": dict(Counter(found.skill.values()))})
    return (
        [replace(x, problem=replace(x.problem, skill=found.skill[x.problem.id])) for x in seed],
        [replace(p, skill=found.skill[p.id]) for p in validation],
    )


def weaknesses(lab: Lab, teacher: Role, *, temperature: float, max_tokens: int) -> Name:
    """Hypotheses about what is lacking behind errors, in the teacher's words."""
    if not can_name(teacher.wording.dialect):
        return name_nothing

    def name(skill: str, shown: Sequence[Solution], known: Sequence[str], count: int, round_: int) -> list[str]:
        wording = teacher.wording
        errors = [(x.problem.text, x.text, x.problem.answer or "") for x in shown[:ERRORS_SHOWN]]
        prompt = render_weaknesses(wording.dialect, description=wording.description, skill=skill, errors=errors, count=count)
        step = f"weaknesses {skill} {round_}"
        return _kept(lab, step, parse_weaknesses(_reply(lab, teacher, prompt, step, temperature, max_tokens)), count)

    return name


def parts(lab: Lab, teacher: Role, *, temperature: float, max_tokens: int) -> Name:
    """Parts of a skill that are not named yet, in the teacher's words."""
    if not can_name(teacher.wording.dialect):
        return name_nothing

    def name(skill: str, shown: Sequence[Solution], known: Sequence[str], count: int, round_: int) -> list[str]:
        wording = teacher.wording
        questions = [x.problem.text for x in shown]
        prompt = render_subskills(
            wording.dialect, description=wording.description, skill=skill, questions=questions, known=known, count=count
        )
        step = f"parts {skill} {round_}"
        return _kept(lab, step, parse_subskills(_reply(lab, teacher, prompt, step, temperature, max_tokens)), count)

    return name


def _reply(lab: Lab, teacher: Role, prompt: Prompt, step: str, temperature: float, max_tokens: int) -> str:
    return teacher.generate([prompt], lab.sampling(step, max_tokens=max_tokens, temperature=temperature))[0][0].text


def _kept(lab: Lab, step: str, found: Sequence[str], count: int) -> list[str]:
    kept = list(found[:count])
    dropped = {"beyond the number wanted": len(found) - len(kept)} if len(found) > len(kept) else {}
    lab.tally(step, asked=max(count, len(found)), parsed=len(found), kept=len(kept), dropped=dropped)
    return kept
