"""Steps that several recipes share: call the primitive, keep the result, count the yield, refuse to go on with nothing.

Each is a line or two of a paper. What only one recipe does stays in its file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tutelage.errors import DataError, QualityGate, SettingsError
from tutelage.evaluate.score import worked_examples
from tutelage.generate.questions import draft_by_skill
from tutelage.generate.solutions import solve
from tutelage.lab import Lab, Role
from tutelage.objectives import cross_entropy
from tutelage.prompts.technique import Technique
from tutelage.records import Example, Feedback, Origin, Problem, Prompt, Solution
from tutelage.select.probes import discriminating_probes
from tutelage.signals.one_shot import one_shot
from tutelage.signals.responses import responses
from tutelage.tasks.task import by_skill
from tutelage.train import FitSettings, Fixed

REPLY_SHOWN = 120
"""Characters of an unreadable reply that an error message shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafts:
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
    """Rejection sampling: of `tries` plain rationales per problem those that are `right` (reach its answer), `wrong` or `any`; the first of
    every problem, then further ones with other texts until there are as many as problems. A problem without a known answer gives none,
    except under `any`."""
    if keep not in ("right", "wrong", "any"):
        raise SettingsError("setting 'keep' has an unknown value", got=keep, fix="right, wrong or any")
    sampling = lab.sampling(name, max_tokens=max_tokens, temperature=temperature, n=tries, stop=writer.wording.dialect.solution_stop)
    drawn = solve(writer, problems, render=writer.wording.plain, verify=lab.task.verify, sampling=sampling, model_id=writer.id, step=name)
    dropped: Counter[str] = Counter()
    ranked: list[tuple[int, int, Solution]] = []
    seen: set[tuple[str, str]] = set()
    turn: Counter[str] = Counter()
    for index, solution in enumerate(drawn):
        reason = _unwanted(lab, solution, keep)
        if reason is None and (solution.problem.id, solution.text) in seen:
            reason = "same text again"
        if reason is not None:
            dropped[reason] += 1
            continue
        seen.add((solution.problem.id, solution.text))
        turn[solution.problem.id] += 1
        ranked.append((turn[solution.problem.id], index, solution))
    ranked.sort(key=lambda x: x[:2])
    kept = [x for _, _, x in ranked[: len(problems)]]
    if len(ranked) > len(kept):
        dropped["more than needed"] = len(ranked) - len(kept)
    lab.tally(name, asked=len(drawn), parsed=sum(x.answer is not None for x in drawn), kept=len(kept), dropped=dropped)
    return lab.keep(name, kept)


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
    chosen = []
    for skill, problems in by_skill(lab.task.train).items():
        chosen += lab.rng(name, skill).sample(problems, k=min(wanted, len(problems)))
    lab.tally(name, asked=wanted * len(by_skill(lab.task.train)), parsed=len(chosen), kept=len(chosen))
    return lab.keep(name, chosen)


def choose_probes(lab: Lab, *, validation: int, probes: int, shots: Sequence[int], max_tokens: int) -> dict[str, list[Problem]]:
    """Per skill, the validation problems that best tell able from less able configurations of the student and the pool."""
    models = [lab.student, *lab.pool]
    chosen: dict[str, list[Problem]] = {}
    facts = {}
    for skill, problems in by_skill(lab.task.validation).items():
        mine = problems[:validation]
        matrix: list[list[float]] = []
        for model in models:
            renders = [model.wording.shots(worked_examples(lab.task, skill, k)) for k in shots]
            sampling = lab.sampling("probes", max_tokens=max_tokens, stop=model.wording.dialect.solution_stop)
            matrix += responses(model, mine, renders=renders, verify=lab.task.verify, sampling=sampling)
        chosen[skill], facts[skill or lab.task.name] = discriminating_probes(mine, matrix, wanted=probes, rng=lab.rng("probes", skill))
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
            origin=Origin(step="examples", parents=(x.id,), model=x.origin.model if x.origin else None),
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


def _keep_solutions(lab: Lab, name: str, solutions: Sequence[Solution], *, asked: int) -> list[Solution]:
    kept = [x for x in solutions if x.text]
    dropped = {"empty": len(solutions) - len(kept)} if len(kept) < len(solutions) else {}
    lab.tally(name, asked=asked, parsed=sum(x.answer is not None for x in kept), kept=len(kept), dropped=dropped)
    return lab.keep(name, kept)
