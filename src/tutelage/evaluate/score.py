"""Score a model on problems, keeping every item so that arms can be compared pair by pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tutelage.capabilities import Generates, Sampling
from tutelage.errors import DataError
from tutelage.evaluate.fingerprint import fingerprint_of
from tutelage.evaluate.verdicts import scorecard
from tutelage.prompts.wording import Wording
from tutelage.records import Problem, Scorecard
from tutelage.tasks.task import Task


def worked_examples(task: Task, skill: str, shots: int) -> list[tuple[str, str]]:
    """The first `shots` seed problems of a skill as (question, rationale): the worked solution that the task ships (`Task.worked`), else
    the bare answer."""
    shown = [p for p in task.seed if p.skill == skill and p.answer is not None][:shots]
    if len(shown) < shots:
        raise DataError(
            f"{shots}-shot evaluation needs {shots} labelled seed problems of skill '{skill}'",
            got=len(shown),
            fix="lower the number of shots",
        )
    return [(p.text, task.worked(p) or task.answer_only(p.answer or "")) for p in shown]


def evaluate(
    model: Generates,
    *,
    name: str,
    task: Task,
    problems: Sequence[Problem],
    wording: Wording,
    sampling: Sampling,
    model_id: str,
    shots: int = 0,
    seed: int = 0,
    arm: str = "",
    template: str = "",
    read: Callable[[str], str] | None = None,
) -> Scorecard:
    """Greedy accuracy over `problems`. An answer that cannot be parsed scores 0 and lowers `parsed`; the two are shown apart.

    `template`: which chat template the model puts around the prompts (`ModelFacts.template`). `read` takes what the verifier is to see out
    of a reply, for models that say more than a solution; what they are asked stays the same, so the fingerprint does too."""
    if not problems:
        raise DataError(f"task '{task.name}' has no problems to score a model on", got="0 test problems", fix="give it a test split")
    renders = {skill: wording.shots(worked_examples(task, skill, shots)) for skill in {p.skill for p in problems}}
    prompts = [renders[p.skill](p) for p in problems]
    replies = model.generate(prompts, sampling)
    texts = [reply[0].text if read is None else read(reply[0].text) for reply in replies]
    verdicts = [task.verify(p, text) for p, text in zip(problems, texts, strict=True)]
    decoding = {"max_tokens": sampling.max_tokens, "temperature": sampling.temperature, "stop": sampling.stop}
    fingerprint = fingerprint_of(task, problems, asked=[p.id for p in prompts], shots=shots, decoding=decoding, template=template)
    return scorecard(
        verdicts, name=name, task=task, problems=problems, model_id=model_id, shots=shots, fingerprint=fingerprint, seed=seed, arm=arm
    )
