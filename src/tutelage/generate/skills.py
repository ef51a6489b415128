"""Skills that a teacher finds in a set of problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.capabilities import Generates, Sampling
from tutelage.prompts.skills import parse_assign, parse_groups, parse_label, render_assign, render_groups, render_label
from tutelage.records import Problem

OTHER = "other"
"""The skill of a problem that fell into no group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered:
    """What was found."""

    skill: dict[str, str]
    """Problem id -> its skill."""
    calls: int
    unread: int
    """Replies that could not be read."""


def discover_skills(
    teacher: Generates, problems: Sequence[Problem], *, description: str, sampling: Sampling, at_most: int, least: int = 1
) -> Discovered:
    """Label every problem, group the labels into at most `at_most` skills, assign every problem to one (DataEnvGym, skill discovery).

    A problem whose assignment cannot be read keeps the group of its own label; where that has none, or a group has fewer than `least`
    problems, they are of the skill `other`.
    """
    prompts = [render_label(description=description, question=p.text) for p in problems]
    labels = [parse_label(replies[0].text) for replies in teacher.generate(prompts, sampling)]
    named = list(dict.fromkeys(label for label in labels if label is not None))
    calls, unread = len(prompts), labels.count(None)
    groups: dict[str, str] = {}
    if named:
        asked = render_groups(description=description, labels=named, at_most=at_most)
        groups = parse_groups(teacher.generate([asked], sampling)[0][0].text, named)
        calls, unread = calls + 1, unread + (not groups)
    # More groups than were asked for: the largest stay.
    sizes = Counter(groups[label] for label in labels if label is not None and label in groups)
    known = [group for group, _ in sizes.most_common(at_most)]
    own = [groups.get(label) if label is not None else None for label in labels]
    found = [group if group in known else None for group in own]
    if len(known) > 1:
        prompts = [render_assign(description=description, question=p.text, groups=known) for p in problems]
        assigned = [parse_assign(replies[0].text, known) for replies in teacher.generate(prompts, sampling)]
        calls, unread = calls + len(prompts), unread + assigned.count(None)
        found = [group or before for group, before in zip(assigned, found, strict=True)]
    sizes = Counter(group for group in found if group is not None)
    skill = {p.id: group if group is not None and sizes[group] >= least else OTHER for p, group in zip(problems, found, strict=True)}
    return Discovered(skill=skill, calls=calls, unread=unread)
