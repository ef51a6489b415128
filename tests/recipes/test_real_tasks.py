"""Every recipe that makes or selects data, on tasks of other shapes than the bundled world: word problems with worked solutions, options
by letter, labels, a user's file with choices.

A run ends with rows to train on, whose texts pass the task's verifier wherever the task has a key, or with a refusal that says why this
recipe cannot do this kind of task. Models are scripted (`tutors`) and nothing is trained, so that all of this takes seconds; what real
weights make of such rows, two runs at the end of the file show.
"""

import json
import os
import re
from dataclasses import replace
from functools import cache

import pytest

import tutelage
from checkpoints import tiny_checkpoint
from tutelage.backends.scripted import Script, register
from tutelage.capabilities import ModelFacts
from tutelage.errors import QualityGate, TutelageError
from tutelage.journal.folder import ArmJournal
from tutelage.lab import Lab
from tutelage.recipes import load_recipe, recipe_names
from tutelage.records import ModelRef, Problem, Solution
from tutelage.tasks import open_task
from tutelage.tasks.labels import labels_of
from tutors import Learner, Tutor

DATA = os.environ.get("TUTELAGE_DATA", "")
SIZES = {"seed_size": 8, "train_size": 12, "validation_size": 6, "test_size": 6}
TASKS = ("gsm8k", "bbh", "labels", "choices")

RUNS = {
    "arte": {"drafts": 4, "tailored": 4, "probes": 2, "question_pairs": 2, "response_shots": (0,), "align_anyway": True},
    "arte:original_teacher": {"tailored": 4},
    "arte:arte_verified": {"drafts": 4, "tailored": 4, "probes": 2, "question_pairs": 2, "response_shots": (0,), "align_anyway": True},
    "balancing": {"seeds": 4, "rows": 8, "switch": 1.0},
    "balancing:answers": {"seeds": 4, "rows": 8},
    "balancing:rephrased": {"seeds": 4, "rows": 8, "same_answer": True},
    "balancing:seed": {"seeds": 4},
    "cft": {"problems": 2, "considered": 4, "attempts": 2, "candidates": 4, "critics": 1, "wanted": 8, "lengths": (1,)},
    "critic-rm": {"questions": 4, "draws": 2, "candidates": 2, "kept": 1, "taught": 4, "best_of": 2, "validation": 2},
    "dataenvgym": {"seeds": 6, "rounds": 2, "rows": 4, "per_order": 2, "validation": 4},
    "dataenvgym:skill_list": {"seeds": 6, "rounds": 2, "rows": 4, "per_order": 2, "validation": 4},
    "dataenvgym:skill_tree": {"seeds": 6, "rounds": 2, "rows": 4, "per_order": 2, "validation": 4},
    "ddk": {"examples": 4, "validation": 2},
    "kdrl": {"questions": 4, "pass_k": 2},
    "lbt": {"examples": 3, "pairs": 4, "exams": 2, "repeats": 1},
    "lbt:m2": {"examples": 4, "pairs": 8, "exams": 3, "repeats": 1, "threshold": 0.0},
    "lbt:m3": {"examples": 3, "pairs": 2, "exemplars": 2, "beam": 1, "rewrites": 1, "rounds": 1, "minibatch": 2},
    "llkd": {"texts": 8, "demonstrations": 2},
    "llm2llm": {"seeds": 6, "rounds": 3, "validation": 4},
    "pgkd": {"gold": 8, "validation": 6, "rounds": 1, "per_round": 6, "per_call": 3, "folds": 2},
    "preference-attributes": {"prompts": 6, "most": 1, "samples": 4, "difficulty": "all", "search": "samples", "low": 0.9, "held_out": 2},
    "ptr": {"examples": 6, "plain": 1.0, "rounds": 2, "validation": 2},
    "revthink": {"examples": 4},
    "sayself": {"questions": 4, "samples": 4, "reward": "nothing"},
    "semantic-revision": {"questions": 4},
    "sft": {"examples": 4},
    "thinktuning": {"questions": 4, "habit_questions": 2},
    "verified-sampling": {"examples": 4, "tries": 2},
}  # fmt: skip
"""Recipe or recipe:arm, and how small it is made. All else is as the paper has it, which is what a user's own models run under."""

REFUSED = {
    ("llkd", "gsm8k"): "no closed list of answers",
    ("pgkd", "gsm8k"): "no closed list of answers",
}
"""What a recipe cannot do, with what it says."""

OTHER_TEXTS = {"cft", "preference-attributes"}
"""Recipes that train on no solution under the plain prompt; theirs are critiques, or replies to constraints."""


def rows_of_gsm8k(folder, count=60):
    for split in ("train", "test"):
        lines = []
        for i in range(count):
            a, b = 3 + i, 2 + i % 7
            who, what = ("Ines", "Karl", "Mara", "Oto")[i % 4], ("jars", "books", "coins", "stamps", "shells")[i % 5]
            where = f"on shelf {i} of the {split} room"
            question = f"{who} keeps {a} rows of {b} {what} {where} and finds {i + 1} more in a drawer. How many {what} are there?"
            answer = (
                f"The rows hold {a}*{b}=<<{a}*{b}={a * b}>>{a * b} {what}.\nWith the others {a * b + i + 1} {what}.\n#### {a * b + i + 1:,}"
            )
            lines.append(json.dumps({"question": question, "answer": answer}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


def rows_of_bbh(path, count=60):
    examples = []
    for i in range(count):
        options = "\n".join(f"({'ABC'[j]}) {month:02}/{1 + i % 27:02}/2021" for j, month in enumerate((1 + i % 9, 2 + i % 9, 3 + i % 9)))
        text = f"Case {i}: it is {1 + i % 27} of month {1 + i % 9} of 2021. What is the date {i % 3} months later in MM/DD/YYYY?"
        examples.append({"input": f"{text}\nOptions:\n{options}", "target": f"({'ABC'[i % 3]})"})
    path.write_text(json.dumps({"canary": "", "examples": examples}))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder of small published files where there are no real ones, and the user's own files."""
    folder = tmp_path_factory.mktemp("real")
    for name in ("gsm8k", "bbh"):
        (folder / name).mkdir()
    rows_of_gsm8k(folder / "gsm8k")
    rows_of_bbh(folder / "bbh" / "date_understanding.json")
    labels = ("card_lost", "pin_change", "refund")
    said = ("my card is gone since trip {}", "let me pick another code for account {}", "give back what order {} cost me")
    lines = [json.dumps({"question": said[i % 3].format(i), "label": labels[i % 3]}) for i in range(60)]
    (folder / "requests.jsonl").write_text("\n".join(lines) + "\n")
    lines = []
    for i in range(60):
        things = ["a lamp", "a rope", "a sieve", "a spade"]
        use = ("see in cellar {}", "climb wall {}", "sort sand of heap {}", "dig hole {}")[i % 4].format(i)
        why = f"To {use} one needs {things[i % 4]}.\nNothing else helps there."
        lines.append(json.dumps({"question": f"What helps to {use}?", "choices": things, "answer": things[i % 4], "why": why}))
    (folder / "things.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def named(files):
    """Short name -> name of the task, and the options it is opened with."""
    held = os.environ.get("TUTELAGE_DATA")
    os.environ["TUTELAGE_DATA"] = DATA or str(files)
    yield {
        "gsm8k": ("gsm8k", SIZES),
        "bbh": ("bbh/date_understanding", SIZES),
        "labels": (f"file:{files}/requests.jsonl", SIZES | {"kind": "classification"}),
        "choices": (f"file:{files}/things.jsonl", SIZES | {"choices": "choices", "rationale": "why"}),
    }
    if held is None:
        del os.environ["TUTELAGE_DATA"]
    else:
        os.environ["TUTELAGE_DATA"] = held


@pytest.fixture(scope="module")
def opened(named):
    return cache(lambda name: open_task(*named[name]))


class Trainer:
    """Trains nothing; remembers how many records the sources of the fits held."""

    def __init__(self):
        self.records = []

    def __call__(self, *, model, source, objective, targets, settings, seed, out, progress, watch=None):
        records = getattr(source, "records", None)
        self.records.append(1 if records is None else len(records))
        out.mkdir(parents=True)
        return {"digest": f"weights {len(self.records)} of {out.parent.name}"}


def run_on(task, name, changes, folder, *, tutor=Tutor):
    """(lab, records by name, records of each fit) of one arm with paper settings made small."""
    recipe = load_recipe(name.partition(":")[0])
    arm = name.partition(":")[2] or recipe.card.arm
    settings = replace(recipe.settings(), **recipe.arms[arm].changes, **changes)
    settings = replace(settings, **{"shots": (0, 1)} if len(settings.shots) > 1 else {})
    teacher, train = tutor(task), Trainer()
    learner = Learner(task, teacher)
    journal = ArmJournal(folder)
    journal.start()
    able = frozenset({"generate", "score", "embed", "train", "reward"})
    lab = Lab(
        task=task,
        models={
            role: (ModelRef(name=f"scripted:{role}", digest=role, path=str(folder)), ModelFacts(capabilities=able))
            for role in ("teacher", "student")
        },
        open_role=lambda role, ref, facts: learner if role == "student" else teacher,
        journal=journal,
        fits=folder / "fits",
        arm=arm,
        seed=0,
        train=train,
    )
    recipe.run(lab, settings)
    lab.finish()
    held = {e["name"]: journal.records(e["name"]) for e in journal.events() if e["event"] == "keep"}
    return lab, held, train.records


def written(lab, held):
    """All problems that have a key: the task's own, and those that a run wrote."""
    problems = [*lab.task.seed, *lab.task.train, *lab.task.validation]
    for records in held.values():
        problems += [r.problem if isinstance(r, Solution) else r for r in records if isinstance(r, Problem | Solution)]
    return [p for p in problems if p.answer is not None]


def test_all_recipes_that_leave_examples_are_here():
    leaving = {name for name in recipe_names() if "examples" in load_recipe(name).card.steps}
    assert {name.partition(":")[0] for name in RUNS} == leaving


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", RUNS)
def test_a_run_ends_with_rows_that_are_right_or_says_why_it_cannot(name, task, opened, tmp_path):
    refused = REFUSED.get((name, task))
    if refused is not None:
        with pytest.raises(TutelageError, match=refused):
            run_on(opened(task), name, RUNS[name], tmp_path)
        return
    lab, held, fits = run_on(opened(task), name, RUNS[name], tmp_path)
    examples = held["examples"]
    assert examples
    assert fits
    assert all(fits)
    if examples[0].label is not None:
        labels = labels_of(lab.task)
        known = {p.text: p.answer for p in written(lab, held)}
        assert all(labels[e.label] == known[e.prompt.text] for e in examples if e.prompt.text in known)
        return
    assert all(e.completion.strip() for e in examples)
    known = {lab.student.wording.plain(p).id: p for p in written(lab, held)}
    checked = [(known[e.prompt.id], e.completion) for e in examples if e.prompt.id in known]
    assert checked or name.partition(":")[0] in OTHER_TEXTS
    wrong = [(p.answer, text) for p, text in checked if not lab.task.verify(p, text).right]
    assert wrong == []


@pytest.mark.parametrize("name", ["llm2llm", "dataenvgym", "dataenvgym:llm2llm"])
def test_a_teacher_that_never_says_its_answer_is_refused_in_the_first_round(name, opened, tmp_path):
    """The loop would end on the rows that it began with, and a run that taught nothing new would look like any other."""
    settings = RUNS[name.partition(":")[0]]
    with pytest.raises(QualityGate, match=r"no usable new problem(.|\n)*no final answer in the solution(.|\n)*ends with the final answer"):
        run_on(opened("gsm8k"), name, settings, tmp_path, tutor=Silent)


class Silent(Tutor):
    """Writes items in the right form whose solutions come to no end."""

    def on_practice(self, prompt, asked, form, index):
        return re.sub(r"\n[^\n]*</ans>", "\nand so on", super().on_practice(prompt, asked, form, index))


# -- with real weights ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A random model with a tokenizer of its own: what it answers is noise, but it reads, learns and is asked like any other."""
    return tiny_checkpoint(tmp_path_factory.mktemp("student") / "model", context=2048)


@pytest.mark.parametrize(
    ("recipe", "task", "settings"),
    [
        ("llm2llm", "gsm8k", {"seeds": 3, "rounds": 2, "validation": 1, "sft.epochs": 1, "item_tokens": 400}),
        ("dataenvgym", "bbh", {"seeds": 3, "rounds": 1, "rows": 2, "per_order": 2, "validation": 1, "sft.epochs": 1}),
    ],
)
def test_a_run_as_a_user_starts_it(recipe, task, settings, named, opened, student, tmp_path):
    tutor = Tutor(opened(task))
    register(Script(name="tutor", answer=lambda prompt, index, seed: tutor.reply(prompt, index), version=f"{recipe} on {task}"))
    name, options = named[task]
    outcome = tutelage.run(
        recipe,
        task=name,
        task_options=options,
        teacher="scripted:tutor",
        student=f"hf:{student}",
        arms=[load_recipe(recipe).card.arm],
        settings={**settings, "shots": [0], "rationale_tokens": 4},
        test_limit=2,
        out=tmp_path / "run",
    )
    assert outcome.dataset
    assert outcome.fits >= 1
    assert any(e.prompt.text.count("Question:") == 1 and e.completion.endswith("</ans>") for e in outcome.dataset)
    assert tutor.written > 0
