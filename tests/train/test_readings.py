"""What other models read in a fit: foretold from its description, charged as it is read, and counted by the model that reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import digits
from torch import nn

from checkpoints import tiny_checkpoint
from tutelage.engine.loading import open_model
from tutelage.errors import BudgetExhausted
from tutelage.experiments.charging import Account
from tutelage.experiments.training import train
from tutelage.journal.amounts import Budget, Usage
from tutelage.journal.ledger import Ledger
from tutelage.objectives import Objective, cross_entropy, dpo, forward_kl, grpo, match_hidden_mse, reverse_kl, sampled_kl, sparse
from tutelage.records import ModelRef, Prompt
from tutelage.train import (
    Domains,
    FitSettings,
    Fixed,
    Instead,
    Itself,
    Joined,
    Mixture,
    Near,
    OnPolicy,
    Reference,
    Replay,
    Revised,
    Sampled,
    Source,
    Targets,
    Teacher,
    TopK,
    Watch,
)
from tutelage.train.readings import readings
from windows import examples, pairs, ref

STEPS = 4
PROMPTS = [e.prompt for e in examples()]
LONGER = Instead((p, Prompt.user(f"{p.messages[-1].content} In steps :")) for p in PROMPTS)


class Handle:
    """A model in a role, as the lab hands it out."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.ref = name, ref(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Handle, Handle]:
    folder = tmp_path_factory.mktemp("models")
    return Handle("student", tiny_checkpoint(folder / "student")), Handle("teacher", tiny_checkpoint(folder / "teacher", seed=1))


@contextmanager
def reading_of(folder: Path) -> Iterator[Counter[str]]:
    """The model's own tally: texts and tokens that come to its embedding. All texts begin alike, and nobody writes that."""
    found: Counter[str] = Counter()
    opened = open_model(folder, device="cpu", dtype=torch.float32, trainable=False)
    module: Any = opened.module
    own = module.get_input_embeddings().weight.detach().clone()
    start = torch.tensor(opened.rendering.prompt_ids(PROMPTS[0])[:4])

    def look(module: nn.Module, given: tuple[Any, ...]) -> None:
        if isinstance(module, nn.Embedding) and module.weight.shape == own.shape and torch.equal(module.weight, own):
            texts = int((given[0].flatten().unfold(0, len(start), 1) == start).all(-1).sum())
            found.update(texts=texts, tokens=given[0].numel() if texts else 0)

    hook = nn.modules.module.register_module_forward_pre_hook(look)
    try:
        yield found
    finally:
        hook.remove()


def as_role(trained: str) -> Callable[[ModelRef, str], str]:
    return lambda ref, name: "" if name == trained else name


Case = Callable[[Handle, Handle], tuple[Source, Targets | None, Objective]]
KD = cross_entropy() + forward_kl()
HALF_OWN = cross_entropy(over="given") + forward_kl(over="own")
CASES: dict[str, tuple[Case, int]] = {
    "every epoch anew": (lambda s, t: (Fixed(examples()), Teacher(t), KD), 16),
    "once for two quantities": (lambda s, t: (Fixed(examples()), Teacher(t), forward_kl() + match_hidden_mse()), 16),
    "once and kept": (lambda s, t: (Fixed(examples()), TopK(t, 3), sparse(forward_kl())), 8),
    "once for two quantities of rollouts": (lambda s, t: (OnPolicy(PROMPTS, max_tokens=6), TopK(t, 3), sparse(reverse_kl())), 16),
    "under its own prompts": (lambda s, t: (Fixed(examples()), Teacher(t, asked=LONGER), KD), 16),
    "what the student writes": (lambda s, t: (OnPolicy(PROMPTS, max_tokens=6), Teacher(t), reverse_kl()), 16),
    "groups that are used twice": (
        lambda s, t: (OnPolicy(PROMPTS, max_tokens=6, samples=2, reward=digits, reuse=2), Sampled(t), grpo() + sampled_kl()), 32,
    ),
    "a reward": (lambda s, t: (OnPolicy(PROMPTS, max_tokens=6, samples=2, reward=Near(digits, t, weight=0.5)), None, grpo()), 32),
    "mending and learning": (
        lambda s, t: (
            Mixture(
                (Fixed(examples(), role="given"), 0.5),
                (OnPolicy(PROMPTS, max_tokens=6, edit=Revised(t, max_tokens=6, times=2)), 0.5),
            ),
            Teacher(t, over="own"),
            HALF_OWN,
        ),
        24,
    ),
    "texts that are remembered": (
        lambda s, t: (
            Replay(OnPolicy(PROMPTS, max_tokens=6, edit=Revised(t, max_tokens=6)), capacity=5, fresh=0.5), Teacher(t), reverse_kl(),
        ),
        26,
    ),
    "domains": (lambda s, t: (Domains({"a": examples()[:3], "b": examples()[3:]}, every=2, probes=2), Teacher(t), KD), 16),
    "a reference of another role": (lambda s, t: (Fixed(pairs()), Reference(t), dpo()), 16),
    "its own reference": (lambda s, t: (Fixed(pairs()), Reference(s), dpo()), 0),
    "an older self": (lambda s, t: (Fixed(examples()), Teacher(s), KD), 0),
    "itself": (lambda s, t: (Fixed(examples()), Itself(asked=LONGER), KD), 0),
    "a teacher and a reference": (
        lambda s, t: (
            OnPolicy(PROMPTS, max_tokens=6, samples=2, reward=digits), Joined(Teacher(t), Reference()), grpo(kl=0.1) + reverse_kl(),
        ),
        32,
    ),
    "nobody that no term takes from": (lambda s, t: (Fixed(examples()), Teacher(t), cross_entropy()), 0),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("micro_tokens", [8192, 40])
def test_what_is_foretold_is_charged_and_is_what_the_model_reads(
    name: str, micro_tokens: int, models: tuple[Handle, Handle], tmp_path: Path
) -> None:
    student, teacher = models
    make, expected = CASES[name]
    source, targets, objective = make(student, teacher)
    settings = FitSettings(lr=1e-3, batch=4, steps=STEPS, epochs=2, micro_tokens=micro_tokens)
    account = Account(Ledger(None), "arm")
    charges = account.open("fit", as_role("student"))
    with reading_of(Path(str(teacher.ref.path))) as own:
        record = train(
            model=student.ref, source=source, objective=objective, targets=targets, settings=settings, seed=5, out=tmp_path / "out",
            progress=None, charges=charges,
        )  # fmt: skip
    told = sum(r.texts.count for r in readings(source, targets, objective, settings) if as_role("student")(r.scorer.ref, r.scorer.role))
    spent = account.ledger.physical(role="teacher")
    assert (own["texts"], told) == (expected, expected)
    assert spent == Usage(calls=own["texts"], scored=own["texts"], prompt_tokens=own["tokens"])
    assert account.ledger.physical() == account.ledger.logical() == spent, "nobody else is charged"
    assert record["charged"] == ({"teacher": {"calls": expected, "scored": expected, "prompt_tokens": own["tokens"]}} if expected else {})


def test_watched_records_are_read_at_every_look(models: tuple[Handle, Handle], tmp_path: Path) -> None:
    student, teacher = models
    settings = FitSettings(lr=1e-4, batch=4, steps=STEPS, epochs=2)
    watch = Watch.on(examples()[:3], every=2, patience=9)
    account = Account(Ledger(None), "arm")
    train(
        model=student.ref, source=Fixed(examples()[3:]), objective=KD, targets=Teacher(teacher), settings=settings, seed=5,
        out=tmp_path / "out", progress=None, watch=watch, charges=account.open("fit", as_role("student")),
    )  # fmt: skip
    told = readings(Fixed(examples()[3:]), Teacher(teacher), KD, settings, watch)
    assert sum(r.texts.count for r in told) == account.ledger.physical().scored == 10 + 2 * 3


# -- budgets and checkpoints ---------------------------------------------------------------------------------------------------


def distilled(
    models: tuple[Handle, Handle], folder: Path, *, budget: int | None = None, cap: int | None = None
) -> tuple[dict[str, Any], Usage, Usage]:
    """Six steps on policy, four texts each: the record, what was charged logically, and physically over all attempts."""
    student, teacher = models
    with Ledger(folder / "ledger.sqlite", budget=Budget(calls=budget)) as ledger:
        account = Account(ledger, "arm", None if cap is None else Budget(calls=cap))
        try:
            record = train(
                model=student.ref, source=OnPolicy(PROMPTS, max_tokens=6), objective=reverse_kl(), targets=Teacher(teacher),
                settings=FitSettings(lr=1e-3, batch=4, steps=6, checkpoint_every=2), seed=5, out=folder / "out", progress=None,
                charges=account.open("fit", as_role("student")),
            )  # fmt: skip
        except BudgetExhausted as stopped:
            record = {"stopped": stopped}
        return record, ledger.logical(role="teacher"), ledger.physical(role="teacher")


def test_a_budget_stops_before_the_step_that_would_exceed_it_and_more_of_it_continues(
    models: tuple[Handle, Handle], tmp_path: Path
) -> None:
    alone, _, whole = distilled(models, tmp_path / "alone")
    assert whole.calls == 24
    stopped, logical, physical = distilled(models, tmp_path / "capped", budget=15)
    assert stopped["stopped"].exit_code == 3
    assert "4 texts to be scored in the next step of training missing for role 'teacher'" in stopped["stopped"].message
    assert (logical.calls, physical.calls) == (12, 12), "three whole steps"
    assert (tmp_path / "capped" / "out.checkpoint" / "place.json").exists()
    assert not (tmp_path / "capped" / "out").exists()
    # From the checkpoint behind step 2: the third step is done again and has been paid.
    again, logical, physical = distilled(models, tmp_path / "capped", budget=16)
    assert (logical.calls, physical.calls) == (16, 16)
    done, logical, physical = distilled(models, tmp_path / "capped", budget=24)
    assert logical == physical == whole
    assert done["digest"] == alone["digest"]
    assert done["charged"] == alone["charged"]
    assert again.keys() == {"stopped"}


def test_the_cap_of_an_arm_stops_it_likewise_whoever_has_paid(models: tuple[Handle, Handle], tmp_path: Path) -> None:
    paid, _, _ = distilled(models, tmp_path)
    assert "digest" in paid
    (tmp_path / "out").rename(tmp_path / "kept")
    stopped, logical, physical = distilled(models, tmp_path, cap=9)
    assert "the teacher was to score 4 more texts in training" in stopped["stopped"].message
    assert (logical.calls, physical.calls) == (8, 24), "nothing is paid twice"


def test_a_fit_that_is_found_finished_is_charged_logically_alone(models: tuple[Handle, Handle], tmp_path: Path) -> None:
    record, logical, _ = distilled(models, tmp_path)
    ledger = Ledger(None)
    other = Account(ledger, "other")
    for _ in range(2):
        other.again("fit", record["charged"])  # an arm that asks for one fit twice
    assert ledger.logical(role="teacher", arm="other") == logical
    assert ledger.physical() == Usage()
    with pytest.raises(BudgetExhausted, match="24 more texts"):
        Account(Ledger(None), "other", Budget(calls=23)).again("fit", record["charged"])
