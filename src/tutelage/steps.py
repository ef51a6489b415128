"""Steps that several recipes share: call the primitive, keep the result, count the yield, refuse to go on with nothing.

Each is a line or two of a paper. What only one recipe does stays in its file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tutelage.errors import DataError, QualityGate, SettingsError
from tutelage.generate.questions import draft_by_skill
from tutelage.generate.solutions import solve
from tutelage.lab import Lab, Role
from tutelage.objectives import cross_entropy
from tutelage.prompts.technique import Technique
from tutelage.prompts.techniques import GENERAL
from tutelage.records import Example, Feedback, Origin, Problem, Prompt, Solution
from tutelage.select.probes import discriminating_probes
from tutelage.signals.one_shot import one_shot
from tutelage.signals.responses import responses
from tutelage.tasks.task import by_skill
from tutelage.train import FitSettings, Fixed

if TYPE_CHECKING:
    from tutelage.select.rewarded import Marked

REPLY_SHOWN = 120
"""Characters of an unreadable reply that an error message shows."""
ROUNDS = 3
"""Times that rejection sampling draws for the problems of a skill that is still short of examples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafts:
    """Questions that a writer drafted, and what it was asked."""

    problems: list[Problem]
    prompts: Mapping[str, Prompt]
    """Problem id -> the prompt that it came from."""


def draft_questions(
    lab: Lab,
    writer: Role,
    name: str,
    *,
    wanted: int,
    temperature: float,
    max_tokens: int,
    seeds_per_prompt: int = 3,
    items_per_call: int = 5,
) -> Drafts:
    """`wanted` new questions per skill, kept under `name`.

    Their answers are the world's where it can solve them, else the writer's claim.
    """
    drafted = draft_by_skill(
        writer,
        lab.task.seed,
        wanted=wanted,
        task=lab.task.name,
        description=lab.task.description,
        dialect=writer.wording.dialect,
        sampling=lab.sampling(name, max_tokens=max_tokens, temperature=temperature, stop=writer.wording.dialect.questions_stop),
        rng=lambda skill: lab.rng(name, skill),
        teacher_id=writer.id,
        seeds_per_prompt=seeds_per_prompt,
        items_per_call=items_per_call,
        known=lab.task.validation,
        refuse=lab.leaks,
    )
    asked = drafted.calls * items_per_call
    problems = lab.keep(name, lab.answer_key(drafted.problems))
    lab.tally(name, asked=asked, parsed=drafted.parsed, kept=len(problems), dropped=drafted.dropped)
    if not problems:
        why = f"a reply began {drafted.unreadable[:REPLY_SHOWN]!r}" if drafted.unreadable else "all were repeats"
        raise QualityGate(
            f"no question could be read from the teacher's replies (step {name})",
            got=f"kept 0 of {asked}; {why}",
            fix="use a teacher that writes items in the form that the question prompt shows, or allow it longer replies "
            "(--set question_tokens=N)",
        )
    return Drafts(problems=problems, prompts={p.id: prompt for p, prompt in zip(problems, drafted.prompts, strict=True)})


def techniques(lab: Lab, wanted: int) -> Sequence[Technique]:
    """The first `wanted` rationale techniques of the task, or the general ones; fewer where there are fewer, which the journal notes."""
    known = lab.task.techniques or GENERAL
    if wanted > len(known):
        lab.note("techniques", {"wanted": wanted, "used": len(known)})
    return known[:wanted]


def draft_solutions(
    lab: Lab,
    writer: Role,
    problems: Sequence[Problem],
    *,
    techniques: Sequence[Technique],
    temperature: float,
    max_tokens: int,
    name: str = "draft_solutions",
) -> list[Solution]:
    """One rationale per technique and problem, problem by problem. Unparsed ones stay (they may still help); empty ones are dropped."""
    columns = [
        solve(
            writer,
            problems,
            render=writer.wording.technique(technique.name, technique.instruction),
            verify=lab.task.verify,
            sampling=lab.sampling(
                f"{name} {technique.name}", max_tokens=max_tokens, temperature=temperature, stop=writer.wording.dialect.solution_stop
            ),
            model_id=writer.id,
            technique=technique.name,
            step=name,
        )
        for technique in techniques
    ]
    solutions = [x for row in zip(*columns, strict=True) for x in row]
    return _keep_solutions(lab, name, solutions, asked=len(solutions))


def write_solutions(
    lab: Lab,
    writer: Role,
    problems: Sequence[Problem],
    *,
    max_tokens: int,
    name: str,
    temperature: float = 0.0,
    after: Mapping[str, Sequence[tuple[str, str]]] | None = None,
) -> list[Solution]:
    """One rationale per problem under the plain prompt, or after the (question, rationale) demonstrations of its skill."""
    renders = {skill: writer.wording.shots(shown) for skill, shown in (after or {}).items()}
    sampling = lab.sampling(name, max_tokens=max_tokens, temperature=temperature, stop=writer.wording.dialect.solution_stop)
    solutions = solve(
        writer,
        problems,
        render=lambda p: renders.get(p.skill, writer.wording.plain)(p),
        verify=lab.task.verify,
        sampling=sampling,
        model_id=writer.id,
        step=name,
    )
    return _keep_solutions(lab, name, solutions, asked=len(problems))


def best_liked_solutions(
    lab: Lab,
    writer: Role,
    problems: Sequence[Problem],
    probes: Mapping[str, Sequence[Problem]],
    *,
    tries: int,
    temperature: float,
    max_tokens: int,
    name: str,
) -> list[Solution]:
    """Best of n under the student's one-shot score: of `tries` plain rationales per problem the one that helps the student most."""
    sampling = lab.sampling(name, max_tokens=max_tokens, temperature=temperature, n=tries, stop=writer.wording.dialect.solution_stop)
    drawn = solve(writer, problems, render=writer.wording.plain, verify=lab.task.verify, sampling=sampling, model_id=writer.id, step=name)
    scores = one_shot_scores(lab, drawn, probes, max_tokens=max_tokens)
    best: dict[str, tuple[float, Solution]] = {}
    for solution, liked in zip(drawn, scores, strict=True):
        held = best.get(solution.problem.id)
        if solution.text and liked.value is not None and (held is None or liked.value > held[0]):
            best[solution.problem.id] = (liked.value, solution)
    kept = [x for _, x in best.values()]
    lab.tally(
        name,
        asked=len(drawn),
        parsed=sum(x.answer is not None for x in drawn),
        kept=len(kept),
        dropped={"less liked": len(drawn) - len(kept)},
    )
    return lab.keep(name, kept)


def sampled_solutions(
    lab: Lab, writer: Role, problems: Sequence[Problem], *, keep: str, tries: int, temperature: float, max_tokens: int, name: str
) -> list[Solution]:
    """Rejection sampling: of `tries` plain rationales per problem those that are `right` (reach its answer), `wrong` or `any`.

    In every skill the first of each problem, then further ones with other texts until there are as many as problems. A skill that stays
    short is drawn again, at most `ROUNDS` times in all, so that arms are taught by equally many examples. A problem without a known answer
    gives none, except under `any`."""
    if keep not in ("right", "wrong", "any"):
        raise SettingsError("setting 'keep' has an unknown value", got=keep, fix="right, wrong or any")
    dropped: Counter[str] = Counter()
    found: dict[str, list[tuple[int, int, Solution]]] = {skill: [] for skill in by_skill(problems)}
    """Per skill: (how many of the same problem came before, number of the draw, solution)."""
    seen: set[tuple[str, str]] = set()
    turn: Counter[str] = Counter()
    asked = parsed = 0
    short = dict(by_skill(problems))
    for round_ in range(ROUNDS):
        again = [p for p in problems if p.skill in short]
        sampling = lab.sampling(
            f"{name} {round_}" if round_ else name,
            max_tokens=max_tokens,
            temperature=temperature,
            n=tries,
            stop=writer.wording.dialect.solution_stop,
        )
        drawn = solve(writer, again, render=writer.wording.plain, verify=lab.task.verify, sampling=sampling, model_id=writer.id, step=name)
        for solution in drawn:
            asked, parsed = asked + 1, parsed + (solution.answer is not None)
            reason = _unwanted(lab, solution, keep)
            if reason is None and (solution.problem.id, solution.text) in seen:
                reason = "same text again"
            if reason is not None:
                dropped[reason] += 1
                continue
            seen.add((solution.problem.id, solution.text))
            turn[solution.problem.id] += 1
            found[solution.problem.skill].append((turn[solution.problem.id], asked, solution))
        # A skill in which nothing was found at all gives nothing the next time either.
        short = {skill: mine for skill, mine in short.items() if 0 < len(found[skill]) < len(mine)}
        if not short or temperature == 0:
            break
    kept: list[Solution] = []
    for skill, mine in by_skill(problems).items():
        ranked = sorted(found[skill], key=lambda x: x[:2])
        kept += [x for _, _, x in ranked[: len(mine)]]
        if len(ranked) > len(mine):
            dropped["more than needed"] += len(ranked) - len(mine)
    lab.tally(name, asked=asked, parsed=parsed, kept=len(kept), dropped=dropped)
    return lab.keep(name, kept)


def marked_solutions(
    lab: Lab, writer: Role, problems: Sequence[Problem], *, n: int, temperature: float, max_tokens: int, name: str
) -> list[Marked]:
    """The marked solutions that the problems carry; where they carry none, `n` draws of the writer for each with the verifier's marks,
    plainly asked, or under the task's first technique where the writer follows no instructions. Unparsed ones are left out."""
    from tutelage.prompts.critics import follows_instructions  # here, so that showing a recipe need not import it
    from tutelage.select.rewarded import carries_solutions, given_solutions

    if carries_solutions(problems):
        kept = given_solutions(problems, step=name)
        asked = len(kept)
    else:
        technique, dialect = techniques(lab, 1)[0], writer.wording.dialect
        plain = follows_instructions(dialect)
        render = writer.wording.plain if plain else writer.wording.technique(technique.name, technique.instruction)
        sampling = lab.sampling(name, max_tokens=max_tokens, temperature=temperature, n=n, stop=dialect.solution_stop)
        drawn = solve(writer, problems, render=render, verify=lab.task.verify, sampling=sampling, model_id=writer.id, step=name)
        verdicts = [lab.task.verify(x.problem, x.text) for x in drawn]
        kept, asked = [(x, v.right) for x, v in zip(drawn, verdicts, strict=True) if v.parsed and x.text], len(drawn)
    dropped = {"unparsed": asked - len(kept)} if len(kept) < asked else {}
    lab.tally(name, asked=asked, parsed=len(kept), kept=len(kept), dropped=dropped)
    return kept


def bare_answers(lab: Lab, solutions: Sequence[Solution]) -> list[Solution]:
    """The solutions without their rationale: the answer alone, in the form that the task's verifier reads. Those whose answer could not be
    read are dropped and counted."""
    bare = [
        replace(x, text=lab.task.answer_only(x.answer), origin=Origin(step="bare_answers", parents=(x.id,), model=_writer(x)))
        for x in solutions
        if x.answer is not None
    ]
    dropped = {"no answer could be read": len(solutions) - len(bare)} if len(bare) < len(solutions) else {}
    lab.tally("bare_answers", asked=len(solutions), parsed=len(bare), kept=len(bare), dropped=dropped)
    return lab.keep("bare_answers", bare)


def _unwanted(lab: Lab, solution: Solution, keep: str) -> str | None:
    if not solution.text:
        return "empty"
    if keep == "any":
        return None
    if solution.problem.answer is None:
        return "no answer to check against"
    verdict = lab.task.verify(solution.problem, solution.text)
    if not verdict.parsed:
        return "unparsed"
    if verdict.right != (keep == "right"):
        return "right" if verdict.right else "wrong"
    return None


def training_questions(lab: Lab, writer: Role, name: str, *, wanted: int, temperature: float, max_tokens: int) -> list[Problem]:
    """Up to `wanted` questions per skill to learn from: the task's own where it has any, else drafted by the writer from the seeds."""
    if not lab.task.train:
        return draft_questions(lab, writer, name, wanted=wanted, temperature=temperature, max_tokens=max_tokens).problems
    chosen: list[Problem] = []
    dropped: Counter[str] = Counter()
    looked_at = 0
    for skill, problems in by_skill(lab.task.train).items():
        mine: list[Problem] = []
        left = lab.rng(name, skill).sample(problems, k=len(problems))
        while left and len(mine) < wanted:
            block, left = left[: wanted - len(mine)], left[wanted - len(mine) :]
            looked_at += len(block)
            for problem, reason in zip(block, lab.leaks([p.text for p in block]), strict=True):
                if reason is None:
                    mine.append(problem)
                else:
                    dropped[reason] += 1
        chosen += mine
    lab.tally(name, asked=looked_at, parsed=looked_at, kept=len(chosen), dropped=dropped)
    if not chosen:
        raise QualityGate(
            f"no training question of {lab.task.name} may be used",
            got="; ".join(f"{count} x {reason}" for reason, count in dropped.items()) or "none",
            fix="take out the training rows that repeat test or validation rows, or split the data anew",
        )
    return lab.keep(name, chosen)


def choose_probes(lab: Lab, *, validation: int, probes: int, shots: Sequence[int], max_tokens: int) -> dict[str, list[Problem]]:
    """Per skill, the validation problems that best tell able from less able configurations of the student and the pool."""
    from tutelage.evaluate.score import worked_examples  # here, so that showing a recipe need not import it

    models = [lab.student, *lab.pool]
    asked = {skill: problems[:validation] for skill, problems in by_skill(lab.task.validation).items()}
    matrices: dict[str, list[list[float]]] = {skill: [] for skill in asked}
    for model in models:  # the outer loop, because only one model is held in memory at a time
        sampling = lab.sampling("probes", max_tokens=max_tokens, stop=model.wording.dialect.solution_stop)
        for skill, mine in asked.items():
            renders = [model.wording.shots(worked_examples(lab.task, skill, k)) for k in shots]
            matrices[skill] += responses(model, mine, renders=renders, verify=lab.task.verify, sampling=sampling)
    chosen: dict[str, list[Problem]] = {}
    facts = {}
    for skill, mine in asked.items():
        found = discriminating_probes(mine, matrices[skill], wanted=probes, rng=lab.rng("probes", skill))
        chosen[skill], facts[skill or lab.task.name] = found
    lab.note("probes", {"configurations": len(models) * len(shots), "by_skill": facts})
    if not any(chosen.values()):
        raise DataError("the task has no validation problems to choose probes from", got=lab.task.name, fix="give it a validation split")
    lab.keep("probes", [p for mine in chosen.values() for p in mine])
    return chosen


def one_shot_scores(lab: Lab, solutions: Sequence[Solution], probes: Mapping[str, Sequence[Problem]], *, max_tokens: int) -> list[Feedback]:
    """How much each solution helps the student of this run as its only demonstration; not kept, since recipes use it at several places."""
    student = lab.student
    scores = one_shot(
        student,
        solutions,
        probes=probes,
        render=lambda shown, probe: student.wording.shots([(shown.problem.text, shown.text)])(probe),
        verify=lab.task.verify,
        sampling=lab.sampling("one_shot", max_tokens=max_tokens, stop=student.wording.dialect.solution_stop),
        student_id=student.id,
    )
    if any(probes.values()) and scores and all(f.value is None for f in scores):
        raise QualityGate(
            "behind no rationale could the student answer a single probe, so it has shown no preference",
            got=f"kept 0 of {len(scores)} scores",
            fix="see the note on unanswered requests; where the context is too short: a student with a longer one, or shorter rationales "
            "(--set rationale_tokens=N)",
        )
    return scores


def teach(lab: Lab, student: Role, solutions: Sequence[Solution], *, settings: FitSettings) -> Role:
    """Fine-tune the student on solutions under the plain prompt; the examples are kept, shuffled by a named stream."""
    examples = [
        Example(
            prompt=student.wording.plain(x.problem),
            completion=x.text,
            context={"skill": x.problem.skill, "technique": x.technique},
            origin=Origin(step="examples", parents=(x.id,), model=_writer(x)),
        )
        for x in solutions
    ]
    lab.rng("examples").shuffle(examples)
    if lab.task.style is not None:
        lab.note("styles_written", Counter(lab.task.style(x.text) for x in solutions))
    if not lab.keep("examples", examples):
        raise QualityGate(
            "no usable training example is left",
            got="kept 0 examples",
            fix="look at the yields of each step in the report; a stronger teacher or fewer filters",
        )
    return lab.fit("student", student, Fixed(examples), cross_entropy(), settings=settings, step="teach")


def _writer(solution: Solution) -> str | None:
    return None if solution.origin is None else solution.origin.model


def _keep_solutions(lab: Lab, name: str, solutions: Sequence[Solution], *, asked: int) -> list[Solution]:
    kept = [x for x in solutions if x.text]
    dropped = {"empty": len(solutions) - len(kept)} if len(kept) < len(solutions) else {}
    lab.tally(name, asked=asked, parsed=sum(x.answer is not None for x in kept), kept=len(kept), dropped=dropped)
    return lab.keep(name, kept)
