"""Generated questions in the wording of BIG-Bench Hard: `bbhlike/NAME` for one of five sub-tasks, `bbhlike/*` for all.

Every problem is drawn on the spot and none is stored; none is a question of the published files. Which split a question can belong to
follows from a hash of its words, so seed, training, validation and test problems are disjoint whatever the seeds and sizes, and the
second bundled pair was raised on no question that can be a test question. Options: `seed_size`, `train_size`, `validation_size`,
`test_size` (per sub-task), `train_seed` and `test_seed` (another number gives other problems of that split, none of which is among
those of number 0).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from tutelage.errors import SettingsError, did_you_mean
from tutelage.records import Origin, Problem
from tutelage.seeds import stream
from tutelage.tasks import bbh_world as world
from tutelage.tasks.bbh import KINDS, options_of, techniques, verifier_of
from tutelage.tasks.options import Options
from tutelage.tasks.splits import prove_disjoint
from tutelage.tasks.task import Task

NAME = "bbhlike"
VERSION = "1"
LICENCE = "Apache-2.0"

CHANCE = {
    "web_of_lies": 0.5,
    "boolean_expressions": 0.55,
    "navigate": 0.55,
    "tracking_shuffled_objects_three_objects": 1 / 3,
    "object_counting": 0.1,
}
"""Per sub-task, about the accuracy of always giving the most frequent answer."""

SIZES = {"seed": 12, "train": 120, "validation": 40, "test": 60}
"""Per sub-task."""

BUCKETS = {"test": (0, 1), "validation": (2,), "seed": (3,), "train": (4, 5, 6, 7, 8, 9)}
"""See `bbh_world.bucket`."""


def names() -> tuple[str, ...]:
    return ("bbhlike/*", *(f"bbhlike/{skill}" for skill in world.SKILLS))


def load(name: str, options: Mapping[str, Any]) -> Task:
    """`bbhlike/NAME`, or `bbhlike/*` for the five together."""
    if name not in names():
        raise SettingsError(f"no task is called '{name}'", got=name, fix=did_you_mean(name, names()))
    chosen = Options(name, options)
    sizes = {split: chosen.whole(f"{split}_size", size, least=0 if split == "train" else 1) or 0 for split, size in SIZES.items()}
    seeds = {split: chosen.whole(f"{split}_seed", 0) or 0 for split in ("train", "test")}
    chosen.done()
    skills = tuple(world.SKILLS) if name == "bbhlike/*" else (name.removeprefix("bbhlike/"),)
    splits = {
        split: tuple(p for skill in skills for p in draw_problems(skill, split, size, seed=seeds.get(split, 0)))
        for split, size in sizes.items()
    }
    prove_disjoint(splits)
    return Task(
        name=name,
        version=VERSION,
        licence=LICENCE,
        chance=sum(CHANCE[skill] for skill in skills) / len(skills),
        description=KINDS[skills[0]].about if len(skills) == 1 else "Solve a short reasoning problem.",
        verify=verifier_of(skills),
        techniques=techniques(skills[0]) if len(skills) == 1 else (),
        answer_format="the final answer on a line of its own after 'Answer:'",
        bare_answer="Answer: {answer}",
        templated=True,
        solve=solve if name == "bbhlike/*" else partial(_solve_as, name.removeprefix("bbhlike/")),
        options=dict(options),
        seed=splits["seed"],
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
    )


def draw_problems(skill: str, split: str, count: int, *, seed: int) -> list[Problem]:
    """`count` different problems of one sub-task that can only belong to `split`.

    Another seed gives others; the default number of problems of seed 0 is never among them.
    """
    found = {p.text: None for p in draw_problems(skill, split, SIZES[split], seed=0)} if seed else {}
    avoid = len(found)
    rng = stream(seed, "bbhlike", skill, split)
    problems: list[Problem] = []
    tries = 0
    while len(found) < avoid + count:
        tries += 1
        if tries > 500 * (count + 10):
            raise SettingsError(f"sub-task '{skill}' has not {count} different {split} questions", got=count, fix="ask for fewer")
        text = world.SKILLS[skill].draw(rng)
        if text in found or world.bucket(text) not in BUCKETS[split] or world.is_published(text):
            continue
        found[text] = None
        problems.append(problem_of(text, skill, split))
    return problems


def problem_of(text: str, skill: str, split: str) -> Problem:
    """A drawn question as a problem; seeds are shown solved in few-shot evaluation, so they carry a worked solution."""
    question = world.parse(text, skill)
    if question is None:
        raise SettingsError(f"text is not a question of '{skill}'", got=text)
    return Problem(
        text=text,
        answer=world.solve(text, skill),
        skill=skill,
        choices=options_of(text, KINDS[skill].words),
        context={"rationale": world.write_steps(question)} if split == "seed" else {},
        origin=Origin(step=f"task bbhlike {split}"),
    )


def solve(problem: Problem) -> str | None:
    """The right answer; None where the question is malformed or of another kind than the problem names."""
    return world.solve(problem.text, problem.skill)


def _solve_as(skill: str, problem: Problem) -> str | None:
    """As of the one sub-task, whatever skill the problem is filed under."""
    return world.solve(problem.text, skill)
