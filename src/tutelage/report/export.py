"""What leaves a run: its data in the columns other tools read, and its student as an ordinary checkpoint, each with a card.

    <out>/data/train.jsonl       prompt, completion      (TRL's prompt-completion format)
    <out>/data/pairs.jsonl       prompt, chosen, rejected (TRL's preference format), where the run made pairs
    <out>/data/README.md         dataset card
    <out>/student/               the checkpoint as the training wrote it, and README.md, its model card
    <out>/reward_model/          the reward model as the training wrote it, with its card, where the run trained one
    <out>/export.json            which run, arm and seed this is

Prompts of one user turn are plain strings, as they were trained; prompts with a system turn or several turns, and those of models with a
chat template, are lists of messages, so that the reader's own template renders them.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from tutelage.engine.digest import OWN_FILE
from tutelage.errors import DataError, SettingsError, did_you_mean
from tutelage.measure import bootstrap_mean
from tutelage.records import Example, Pair, Prompt
from tutelage.report.read import ArmRun, RunFolder, kept_names, kept_of_type, read_run, records
from tutelage.report.summary import cost, scorecards
from tutelage.report.text import md, md_block, metric_words, number, percent

FORMATS = ("trl",)
EXAMPLES = "examples"
MARK = "export.json"
"""Says which run, arm and seed an export folder is of."""


def export(
    folder: Path | str, *, to: str = "trl", out: Path | str | None = None, arm: str | None = None, seed: int | None = None
) -> list[Path]:
    """Write data and student of one arm under one seed; the system's arm and its first finished seed unless named.

    `out` is `<run>/export/<arm>-seed<seed>` by default. An earlier export of the same arm and seed is written anew; a folder that holds
    anything else is left alone and refused. Returns the files and folders written.
    """
    if to not in FORMATS:
        raise SettingsError(f"unknown export format '{to}'", got=to, fix=did_you_mean(to, FORMATS))
    run = read_run(folder)
    chosen = _choose(run, arm, seed)
    into = Path(out) if out is not None else run.path / "export" / f"{chosen.arm}-seed{chosen.seed}"
    mark = {"run": str(run.about.get("id") or ""), "arm": chosen.arm, "seed": chosen.seed}
    _make_room(into, mark)
    template = _chat_template(run)
    examples = [x for x in records(chosen, EXAMPLES) if isinstance(x, Example)]
    pairs = [p for name in kept_of_type(chosen, Pair) for p in records(chosen, name) if isinstance(p, Pair)]
    weights, reward = (_weights(run, chosen, role) for role in ("student", "judge"))
    if not examples and not pairs and weights is None and reward is None:
        raise DataError(
            f"arm '{chosen.arm}', seed {chosen.seed}, has nothing to export",
            got=f"records: {', '.join(kept_names(chosen)) or 'none'}",
            fix="name an arm that taught the student, or finish the run",
        )
    into.mkdir(parents=True, exist_ok=True)
    (into / MARK).write_bytes(orjson.dumps(mark))
    written: list[Path] = []
    if examples or pairs:
        data = into / "data"
        data.mkdir()
        if examples:
            written.append(_jsonl(data / "train.jsonl", [_example_row(e, template) for e in examples]))
        if pairs:
            written.append(_jsonl(data / "pairs.jsonl", [_pair_row(p, template) for p in pairs]))
        written.append(_text(data / "README.md", dataset_card(run, chosen, examples=len(examples), pairs=len(pairs))))
    if weights is not None:
        student = into / "student"
        shutil.copytree(weights, student, ignore=shutil.ignore_patterns("fit.json", "README.md", ".*"))
        _text(student / "README.md", model_card(run, chosen, student))
        written.append(student)
    if reward is not None:
        model = into / "reward_model"
        shutil.copytree(reward, model, ignore=shutil.ignore_patterns("fit.json", "README.md", ".*"))
        _text(model / "README.md", reward_card(run, chosen, model))
        written.append(model)
    return written


def _make_room(into: Path, mark: Mapping[str, Any]) -> None:
    if not into.exists():
        return
    held = into / MARK
    ours = into.is_dir() and held.exists() and orjson.loads(held.read_bytes()) == mark
    if not ours and (not into.is_dir() or any(into.iterdir())):
        raise SettingsError("the export folder holds something else", got=str(into), fix="name a new folder with --out")
    for part in ("data", "student", "reward_model"):
        shutil.rmtree(into / part, ignore_errors=True)


def prompt_column(prompt: Prompt, *, template: bool) -> str | list[dict[str, str]]:
    """A prompt as TRL takes it: a string, or messages where turns matter."""
    if template or len(prompt.messages) != 1 or prompt.messages[0].role != "user":
        return [{"role": m.role, "content": m.content} for m in prompt.messages]
    return prompt.text


def _answer_column(text: str, prompt: str | list[dict[str, str]]) -> str | list[dict[str, str]]:
    return text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]


def _example_row(e: Example, template: bool) -> dict[str, Any]:
    prompt = prompt_column(e.prompt, template=template)
    return {"prompt": prompt, "completion": _answer_column(e.completion, prompt), "id": e.id, **_context(e.context)}


def _pair_row(p: Pair, template: bool) -> dict[str, Any]:
    prompt = prompt_column(p.prompt, template=template)
    row = {"prompt": prompt, "chosen": _answer_column(p.chosen, prompt), "rejected": _answer_column(p.rejected, prompt)}
    return {**row, "id": p.id, "kind": p.kind, "margin": p.margin}


def _context(context: Mapping[str, Any]) -> dict[str, Any]:
    return {k: str(context[k]) for k in ("skill", "technique") if context.get(k)}


def _choose(run: RunFolder, arm: str | None, seed: int | None) -> ArmRun:
    names = [a.name for a in run.arms]
    name = arm or str(run.card.get("arm") or (names[0] if names else ""))
    if name not in names:
        raise SettingsError(f"the run has no arm '{name}'", got=name, fix=did_you_mean(name, names))
    if seed is not None and seed not in run.seeds:
        raise SettingsError(f"the run has no seed {seed}", got=seed, fix=f"it has {', '.join(map(str, run.seeds))}")
    held = [r for r in run.of_arm(name) if seed in (None, r.seed)]
    return next((r for r in held if r.state == "finished"), held[0])


def _weights(run: RunFolder, arm: ArmRun, role: str) -> Path | None:
    """The folder of the last fit of this role in this arm, where its weights are still there."""
    keys = [str(e.get("key")) for e in arm.of_kind("fit") if e.get("role") == role]
    folder = run.path / "fits" / keys[-1] if keys else None
    return folder if folder is not None and folder.is_dir() and any(folder.glob("*.safetensors")) else None


def _chat_template(run: RunFolder) -> bool:
    student = (run.about.get("models") or {}).get("student") or {}
    return bool((student.get("facts") or {}).get("chat_template"))


def dataset_card(run: RunFolder, arm: ArmRun, *, examples: int, pairs: int) -> str:
    """README.md of the data: a YAML head that hubs read, and the facts in words."""
    splits = []
    if examples:
        splits.append({"config_name": "default", "data_files": [{"split": "train", "path": "train.jsonl"}]})
    if pairs:
        splits.append({"config_name": "pairs", "data_files": [{"split": "train", "path": "pairs.jsonl"}]})
    facts = _facts(run, arm)
    head = {"license": facts["licence"], "tags": ["tutelage", run.recipe, "synthetic"], "configs": splits, "tutelage": facts["head"]}
    body = [
        f"# {md(run.recipe)}: training data for {md(facts['student'])}",
        f"{number(examples)} examples"
        + (f" and {number(pairs)} preference pairs" if pairs else "")
        + ", written by a model; answers may be wrong.",
        *facts["body"],
        "Columns of train.jsonl: prompt, completion; of pairs.jsonl: prompt, chosen, rejected, margin.",
        "`id` leads to the record in the run.",
    ]
    return _card(head, body)


def model_card(run: RunFolder, arm: ArmRun, student: Path) -> str:
    """README.md of the student: what it was taught by whom, and how it then did, with the task's own licence beside the model's."""
    facts = _facts(run, arm)
    adapter = (student / "adapter_config.json").exists()
    measured = scorecards(arm)
    head: dict[str, Any] = {
        "license": facts["student_licence"],
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["tutelage", run.recipe],
        "tutelage": facts["head"],
    }
    results = [f"- {md(metric_words(m))}: {_measured(c)}" for m, c in measured.items()]
    body = [
        f"# {md(facts['student'])}, taught by {md(run.recipe)}",
        "An adapter; load it with peft on top of its base model." if adapter else "An ordinary checkpoint; load it with transformers.",
        *facts["body"],
        *(["Measured on this one seed, so intervals cover the choice of test questions only:\n\n" + "\n".join(results)] if results else []),
    ]
    return _card(head, body)


def reward_card(run: RunFolder, arm: ArmRun, model: Path) -> str:
    """README.md of a reward model: what it was trained on, how it is asked, and how often it was right."""
    facts = _facts(run, arm)
    writes = (model / OWN_FILE).exists()
    head: dict[str, Any] = {
        "license": facts["teacher_licence"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation" if writes else "text-classification",
        "tags": ["tutelage", "reward-model", run.recipe],
        "tutelage": facts["head"],
    }
    kind = (
        f"A language model that writes a critique of a reply first; `{OWN_FILE}` beside its weights holds the head that then rates what it "
        "has read, at the end of text behind the critique. Other tools load it as an ordinary language model, without the rating."
        if writes
        else "A sequence classifier of one output: its reward of a reply stands at the end of text behind prompt and reply."
    )
    notes = {str(e.get("name")): e.get("value") for e in arm.of_kind("note")}
    accuracy = notes.get("pair accuracy")
    found = [f"- {md(metric_words(m))}: {_measured(c)}" for m, c in scorecards(arm).items() if c.get("name") == "reward model"]
    if isinstance(accuracy, int | float):
        found.append(f"- right over wrong on validation questions, one seed: {percent(accuracy)}")
    body = [
        f"# Reward model of {md(run.recipe)}, from {md(facts['head']['teacher'])}",
        kind,
        "A reward has no unit and no bounds: compare replies to one prompt. To rate a file of replies or preferences:\n\n"
        + md_block("tutelage score --model DIR FILE"),
        *facts["body"],
        *(["\n".join(found)] if found else []),
    ]
    return _card(head, body)


def _measured(card: Mapping[str, Any]) -> str:
    found = bootstrap_mean(card.get("scores") or ())
    said = f"{percent(card['value'])} of {number(card.get('n'))} test questions"
    return said if found.low is None else f"{said} (95 % interval {percent(found.low)} to {percent(found.high)})"


def _facts(run: RunFolder, arm: ArmRun) -> dict[str, Any]:
    models = {role: body for role, body in (run.about.get("models") or {}).items() if isinstance(body, Mapping)}
    licence = {role: str((body.get("facts") or {}).get("licence") or "unknown") for role, body in models.items()}
    name = {role: str(body.get("name") or "unknown") for role, body in models.items()}
    spent = cost([arm])
    teacher = spent["roles"].get("teacher", {})
    tokens = round(teacher.get("prompt_tokens", 0) + teacher.get("completion_tokens", 0))
    splits = {str(k): v for k, v in (run.task.get("splits") or {}).items()}
    head = {
        "recipe": run.recipe,
        "run": str(run.about.get("id") or ""),
        "arm": arm.arm,
        "seed": arm.seed,
        "teacher": name.get("teacher", "none"),
        "teacher_id": str((models.get("teacher") or {}).get("id") or ""),
        "student": name.get("student", "none"),
        "student_id": str((models.get("student") or {}).get("id") or ""),
        "teacher_calls": round(teacher.get("calls", 0)),
        "teacher_tokens": tokens,
        "task": str(run.task.get("name") or "unknown"),
        "task_version": str(run.task.get("version") or "unknown"),
        "task_licence": str(run.task.get("licence") or "unknown"),
        "splits": splits,
        "lineage": _lineage(arm),
    }
    calls = f"{number(head['teacher_calls'])} calls, {number(tokens)} tokens"
    questions = ", ".join(f"{md(k)} {number(v)}" for k, v in splits.items()) or "unknown"
    lines = [
        f"teacher: {md(head['teacher'])} (licence {md(licence.get('teacher', 'unknown'))}), {calls}",
        f"student: {md(head['student'])} (licence {md(licence.get('student', 'unknown'))})",
        f"task: {md(head['task'])}, version {md(head['task_version'])}, licence {md(head['task_licence'])}",
        f"questions: {questions}; test questions were never trained on",
        f"lineage: {' → '.join(md(s) for s in head['lineage']) or 'not recorded'}",
    ]
    body = [
        f"Made by the recipe `{run.recipe}`, arm `{arm.arm}`, seed {arm.seed}, on task {md(head['task'])}.",
        "\n".join(f"- {line}" for line in lines),
        f"To make it again:\n\n{md_block(run.about.get('command') or 'the command was not recorded')}",
    ]
    both = {licence.get("teacher", "unknown"), head["task_licence"]}
    return {
        "head": head,
        "body": body,
        "student": name.get("student", "a student"),
        "student_licence": _hub_licence(licence.get("student", "unknown")),
        "teacher_licence": _hub_licence(licence.get("teacher", "unknown")),
        # Terms of a teacher may bind what it wrote: one licence is named only where teacher and task agree on it.
        "licence": _hub_licence(both.pop()) if len(both) == 1 else "other",
    }


def _lineage(arm: ArmRun) -> list[str]:
    """The steps of the arm in order, trainings among them."""
    steps = []
    for event in arm.events:
        if event.get("event") == "keep" and event.get("name") != "scorecards":
            steps.append(f"{event.get('name')} ({event.get('count')})")
        elif event.get("event") == "fit":
            steps.append(f"training of the {event.get('role')} ({event.get('examples')} examples)")
    return steps


def _hub_licence(licence: str) -> str:
    known = {"apache-2.0", "mit", "cc-by-4.0", "cc-by-sa-4.0", "cc0-1.0", "bsd-3-clause", "gpl-3.0", "llama3", "gemma"}
    return licence.lower() if licence.lower() in known else "unknown" if licence.lower() == "unknown" else "other"


def _card(head: Mapping[str, Any], body: Sequence[str]) -> str:
    return "---\n" + "\n".join(_yaml(head)) + "\n---\n\n" + "\n\n".join(body) + "\n"


def _yaml(value: Mapping[str, Any], indent: str = "") -> list[str]:
    """A mapping as YAML, every leaf in JSON notation (which is YAML), so that no text of a name can break the head."""
    lines = []
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            lines += [f"{indent}{key}:", *_yaml(inner, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {orjson.dumps(inner).decode()}")
    return lines


def _jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
    return path


def _text(path: Path, body: str) -> Path:
    path.write_text(body, encoding="utf-8")
    return path
