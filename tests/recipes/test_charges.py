"""Every recipe that asks a teacher, at a tenth of what its laptop preset costs: it fits, it comes to something, and the ledger says what
the models themselves have counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tutelage.experiments import run
from tutelage.experiments.compare import plan_comparison
from tutelage.experiments.plan import LOW_YIELD, rehearse
from tutelage.experiments.request import Request, resolve_request
from tutelage.experiments.shelf import Shelf
from tutelage.experiments.sizing import ASSUMED_YIELD, Sized, size_request
from tutelage.experiments.training import train
from tutelage.journal.amounts import Budget, Usage, total
from tutelage.journal.cache import CallCache
from tutelage.journal.folder import ArmJournal
from tutelage.journal.ledger import BUDGETED_ROLES, Ledger
from tutelage.recipes import load_recipe, recipe_names
from tutelage.records import ModelRef, Prompt
from tutelage.report.comparison import OFF_BY

pytestmark = pytest.mark.xdist_group("recipes")

ASKING = [r for r in map(load_recipe, recipe_names()) if "teacher" in r.card.needs]
each = pytest.mark.parametrize("recipe", ASKING, ids=lambda r: r.name)
GIVEN = {"task": "folds/msum", "teacher": "bundled:teacher", "student": "bundled:student", "task_options": {"test_size": 4}}
SCORING = {"kdrl", "semantic-revision", "ddk"}
DEAR = {"critic-rm"}
"""Many samples of every prompt are its design: a tenth is less than its smallest size."""
UNASKED = {"preference-attributes", "sayself"}
"""The bundled teacher follows no instructions, so they ask it nothing: their reflections and merged prompts are made by rule."""

REDRAWS = {"revthink"}
"""A skill in which less than a quarter is right is drawn again, twice at five questions a skill: the caps hold it, not its plan."""


def test_the_recipes_that_ask_a_teacher_are_all_here():
    assert {r.name for r in map(load_recipe, recipe_names())} - {r.name for r in ASKING} == {"untouched"}
    assert {r.name for r in ASKING} > SCORING


@dataclass
class Tally:
    """What the models have counted themselves: rows they were asked, and texts that came to the teacher's embedding while another model
    was trained."""

    asked: Counter[str] = field(default_factory=Counter)
    read: int = 0
    training: bool = False


class Counted:
    """A back end that counts the rows it is asked."""

    def __init__(self, model: Any, tally: Tally) -> None:
        self._model, self._tally = model, tally

    def generate(self, prompts: Sequence[Any], sampling: Any) -> Any:
        return self._counted("generate", len(prompts) * sampling.n, prompts, sampling)

    def score(self, prompts: Sequence[Any], completions: Sequence[str]) -> Any:
        return self._counted("score", len(prompts), prompts, completions)

    def embed(self, texts: Sequence[str]) -> Any:
        return self._counted("embed", len(texts), texts)

    def classify(self, texts: Sequence[str]) -> Any:
        return self._counted("classify", len(texts), texts)

    def reward(self, prompts: Sequence[Any], completions: Sequence[str]) -> Any:
        return self._counted("reward", len(prompts), prompts, completions)

    def _counted(self, verb: str, rows: int, *given: Any) -> Any:
        was, self._tally.training = self._tally.training, False
        self._tally.asked[verb] += rows
        try:
            return getattr(self._model, verb)(*given)
        finally:
            self._tally.training = was


class CountingShelf(Shelf):
    """Hands out every model counted."""

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally

    def model(self, ref: ModelRef) -> Any:
        return Counted(super().model(ref), self._tally)


@contextmanager
def readings_counted(ref: ModelRef, tally: Tally) -> Iterator[None]:
    """Counts, in training, the texts that this model reads: first positions of what passes its embedding."""
    import torch
    from torch import nn

    from tutelage.engine.loading import open_model

    opened = open_model(Path(str(ref.path)), device="cpu", dtype=torch.float32, trainable=False)
    module: Any = opened.module
    begin = torch.tensor(opened.rendering.prompt_ids(Prompt.user("Q : last"))[:-1])  # of every prompt; a network's own trial has no such
    own = module.get_input_embeddings().weight.detach().clone()
    mine = False

    def look(module: nn.Module, given: Any, made: Any) -> None:
        nonlocal mine
        if isinstance(module, nn.Embedding):
            weight: Any = module.weight
            mine = tally.training and weight.shape == own.shape and torch.equal(weight, own)
            mine = mine and bool((given[0].flatten().unfold(0, len(begin), 1) == begin).all(-1).any())
        elif mine and type(module).__name__.endswith("RotaryEmbedding"):
            tally.read += int((made[0] == 1.0).all(-1).sum())  # the cosines of position 0
            mine = False  # what follows may be a decoder that passes no embedding

    hook = nn.modules.module.register_module_forward_hook(look)
    try:
        yield
    finally:
        hook.remove()


@cache
def planned(name: str) -> tuple[int, Sized]:
    """Calls of the laptop preset, and the main arm sized to a tenth of them."""
    request = resolve_request(name, arms=[load_recipe(name).card.arm], preset="laptop", **GIVEN)
    whole = foretold(request, ASSUMED_YIELD)
    return whole, size_request(request, Budget(calls=max(1, whole // 10)))


def foretold(request: Request, good: float) -> int:
    roles = rehearse(request, request.arms[0], good=good).roles
    return sum(count.calls for role, count in roles.items() if role in BUDGETED_ROLES)


def shortly_trained(request: Request) -> Request:
    """The data of its size under all else of the toy preset, which takes seconds."""
    lighter = {name: value for name, value in request.recipe.toy.items() if name not in request.asked["overrides"]}
    return replace(request, settings=replace(request.settings, **lighter))


def counted_run(request: Request, folder: Path, cap: Budget) -> tuple[ArmJournal, Tally, dict[str, Usage]]:
    [arm] = request.arms
    ref, tally = request.models["teacher"][0], Tally()
    journal = ArmJournal(folder / "seeds" / "0" / arm)

    def counted_training(**given: Any) -> Any:
        tally.training = given["model"].id != ref.id  # what it reads in its own training is nobody's call
        try:
            return train(**given)
        finally:
            tally.training = False

    with CallCache(folder / "cache.sqlite") as answers, Ledger(folder / "ledger.sqlite") as ledger, readings_counted(ref, tally):
        run._run_arm(
            request, folder, 0, arm, journal=journal, cache=answers, ledger=ledger, shelf=CountingShelf(tally), train=counted_training,
            watch=run.unwatched, cap=cap,
        )  # fmt: skip
        of_budget = [ledger.logical(role=role) for role in sorted(BUDGETED_ROLES)]
        return journal, tally, {"physical": ledger.physical(), "logical": ledger.logical(), "budgeted": total(of_budget)}


@pytest.mark.parametrize("name", sorted(DEAR))
def test_a_comparison_says_what_the_smallest_size_of_a_dear_recipe_needs(name):
    whole, sized = planned(name)
    given = {k: v for k, v in GIVEN.items() if k != "task"}
    plan = plan_comparison([name, "sft"], task=GIVEN["task"], budget=f"calls={whole // 10}", preset="laptop", **given)
    assert f"at its smallest ({', '.join(f'{k}={v}' for k, v in sized.sizes.items())}) it needs about" in plan.comparison.left_out[name]
    assert f"{sized.planned.calls[1]:,.4g} calls" in plan.comparison.left_out[name]
    assert list(plan.running) == ["sft"]


@each
def test_a_tenth_of_the_laptop_presets_cost_suffices_and_the_ledger_is_the_models_own_count(recipe, tmp_path):
    whole, sized = planned(recipe.name)
    assert sized.fits == (recipe.name not in DEAR), f"the smallest size takes {sized.planned.calls[1]} of {whole} calls"
    assert (sized.planned.calls[1] <= whole // 10) == sized.fits
    assert (whole == 0) == (recipe.name in UNASKED)
    request = shortly_trained(sized.request)
    journal, tally, spent = counted_run(request, tmp_path, Budget(calls=max(1, whole)))
    asked = sum(tally.asked.values())
    assert spent["physical"].calls == asked + tally.read
    assert spent["physical"].scored == spent["logical"].scored == tally.read
    assert spent["logical"].calls >= spent["physical"].calls, "what is asked twice is answered once"
    events = journal.events()
    assert events[-1]["event"] == "done"
    told = [e["calls"] for e in events if e["event"] == "cost" and e["role"] in BUDGETED_ROLES]
    assert sum(told) == spent["budgeted"].calls, "every call of the budget is told, also those of a judge that the recipe trains"
    plans = [foretold(request, good) for good in (1.0, ASSUMED_YIELD, LOW_YIELD)]
    assert spent["budgeted"].calls <= max(plans) * (1 + OFF_BY) or recipe.name in REDRAWS
    assert spent["budgeted"].calls >= min(plans) * (1 - OFF_BY) or recipe.card.ends_early
    kept = {e["name"]: e["count"] for e in events if e["event"] == "keep"}
    assert kept.get("examples", 1) > 0
    assert [e for e in events if e["event"] == "fit" and e["role"] == "student"]
    assert rehearse(request, request.arms[0], good=1.0).roles["teacher"].scored == tally.read
    assert (tally.read > 0) == (recipe.name in SCORING)
