"""What is to be run, resolved and checked before any work: names to things, presets and overrides to settings,
all of it to one identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import orjson

from tutelage import backends, bundled
from tutelage.capabilities import CAPABILITIES, ModelFacts
from tutelage.card import Arm
from tutelage.errors import CapabilityError, SettingsError, did_you_mean
from tutelage.hashing import content_id
from tutelage.recipes import Recipe, load_recipe
from tutelage.records import ModelRef
from tutelage.tasks import open_task
from tutelage.tasks.task import Task

_WRITERS = "use a model that writes text: a folder whose config.json names a causal language model, or an endpoint (openai:MODEL@URL)"

PRESETS = ("paper", "laptop", "toy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A run that can be started: everything resolved, nothing opened."""

    recipe: Recipe
    task: Task
    models: Mapping[str, tuple[ModelRef, ModelFacts]]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    preset: str
    settings: Any
    """The recipe's Settings before an arm changes them."""
    test_limit: int | None = None
    allow_weak_sandbox: bool = False
    """Whether generated code may run in a plain process with limits where bubblewrap is missing. Not part of the identity."""
    asked: Mapping[str, Any] = field(default_factory=dict)
    """The request as it was given, so that a worker can resolve it again."""

    @property
    def identity(self) -> dict[str, Any]:
        """All that could change the result, and nothing else."""
        return {
            "recipe": self.recipe.name,
            "version": self.recipe.card.version,
            "settings": asdict(self.settings),
            "task": {
                "name": self.task.name,
                "version": self.task.version,
                "options": dict(self.task.options),
                "test_limit": self.test_limit,
            },
            "models": {role: ref.id for role, (ref, _) in self.models.items()},
            # How a model wants to be asked stands beside its weights, not in them.
            "dialects": {role: facts.dialect for role, (_, facts) in self.models.items()},
            "arms": sorted(self.arms),
            "seeds": sorted(self.seeds),
        }

    @property
    def id(self) -> str:
        return content_id(self.identity)

    def arm_settings(self, arm: str) -> Any:
        return replace(self.settings, **self.recipe.arms[arm].changes)


def resolve_request(
    recipe: str,
    *,
    task: str,
    teacher: str | None = None,
    student: str | None = None,
    pool: Sequence[str] = (),
    arms: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    task_options: Mapping[str, Any] | None = None,
    test_limit: int | None = None,
    allow_weak_sandbox: bool = False,
) -> Request:
    """Resolve and check; every error of the user's making that can be known now is raised here."""
    found = load_recipe(recipe)
    chosen = _arms(found, arms)
    if not seeds:
        raise SettingsError("a run needs at least one seed", fix="--seed 0 or --seeds 3")
    if len(set(seeds)) != len(seeds):
        raise SettingsError("a seed is named twice", got=list(seeds), fix="name every seed once")
    _check_roles(found, chosen, [role for role, name in (("teacher", teacher), ("student", student)) if name])
    preset = preset or ("laptop" if (student or "").startswith("bundled:") else "paper")
    if preset not in PRESETS:
        raise SettingsError("unknown preset", got=preset, fix=did_you_mean(preset, PRESETS))
    if preset == "paper":
        for role, name in (("teacher", teacher), ("student", student)):
            if (name or "").startswith("bundled:"):
                raise SettingsError(
                    f"the bundled {role} cannot run the paper's settings", got=name, fix="--preset laptop, or models of the paper's size"
                )
    settings = resolve_settings(found, preset, overrides or {})
    names: dict[str, str] = {}
    if teacher:
        names["teacher"] = teacher
    if student:
        names["student"] = student
    models = {role: _model(name) for role, name in names.items()}
    if pool:
        for index, name in enumerate(pool):
            models[f"pool{index}"] = _model(name)
    elif student is not None and student.startswith("bundled:"):
        for index, path in enumerate(bundled.checkpoints(student.removeprefix("bundled:"))):
            models[f"pool{index}"] = _model(f"hf:{path}")
    check_needs(found, chosen, models)
    opened = open_task(task, task_options or {})
    asked = {
        "recipe": recipe, "task": task, "teacher": teacher, "student": student, "pool": list(pool), "arms": list(chosen),
        "seeds": list(seeds),
        "preset": preset, "overrides": dict(overrides or {}), "task_options": dict(task_options or {}), "test_limit": test_limit,
        "allow_weak_sandbox": allow_weak_sandbox,
    }  # fmt: skip
    return Request(
        recipe=found,
        task=opened,
        models=models,
        arms=chosen,
        seeds=tuple(seeds),
        preset=preset,
        settings=settings,
        test_limit=test_limit,
        allow_weak_sandbox=allow_weak_sandbox,
        asked=asked,
    )


def _model(name: str) -> tuple[ModelRef, ModelFacts]:
    ref = backends.resolve(name)
    return ref, backends.facts(ref)


def _arms(recipe: Recipe, arms: Sequence[str]) -> tuple[str, ...]:
    if not arms:
        return recipe.card.demo_arms or tuple(recipe.arms)
    if list(arms) == ["all"]:
        return tuple(recipe.arms)
    for arm in arms:
        if arm not in recipe.arms:
            raise SettingsError(f"recipe '{recipe.name}' has no such arm", got=arm, fix=did_you_mean(arm, recipe.arms))
    return tuple(dict.fromkeys(arms))


def _check_roles(recipe: Recipe, arms: Sequence[str], named: Sequence[str]) -> None:
    for name in arms:
        arm: Arm = recipe.arms[name]
        for role in arm.needs if arm.needs is not None else recipe.card.needs:
            if role not in named:
                raise SettingsError(
                    f"recipe '{recipe.name}' needs a {role} (arm '{name}')", fix=f"--{role} MODEL, for example bundled:{role} or hf:DIR"
                )


def check_needs(recipe: Recipe, arms: Sequence[str], models: Mapping[str, tuple[ModelRef, ModelFacts]]) -> None:
    """Refuse, before anything is loaded, a role whose model lacks a capability that an arm needs."""
    for name in arms:
        arm: Arm = recipe.arms[name]
        for role, capabilities in (arm.needs if arm.needs is not None else recipe.card.needs).items():
            ref, facts = models[role]
            for capability in capabilities:
                if capability not in CAPABILITIES:
                    raise SettingsError(
                        f"card of '{recipe.name}' names an unknown capability", got=capability, fix=did_you_mean(capability, CAPABILITIES)
                    )
                if capability not in facts.capabilities:
                    other = "use a model with local weights (hf:DIR)" if "generate" in facts.capabilities else _WRITERS
                    able = [a for a, b in recipe.arms.items() if b.needs is not None and capability not in b.needs.get(role, ())]
                    raise CapabilityError(
                        f"arm '{name}' of recipe '{recipe.name}' needs '{capability}' from its {role}",
                        got=f"{ref.name}, which can {', '.join(sorted(facts.capabilities)) or 'nothing'}",
                        fix=other + (f", or, with --arm, one of the arms {', '.join(able)}" if able else ""),
                    )


def resolve_settings(recipe: Recipe, preset: str, overrides: Mapping[str, Any]) -> Any:
    """Preset first, then `a.b=c` overrides; unknown names and wrong types are refused with a hint."""
    from pydantic import TypeAdapter, ValidationError

    changes = {"paper": {}, "laptop": recipe.laptop, "toy": recipe.toy}[preset]
    tree = asdict(replace(recipe.settings(), **changes))
    for path, value in overrides.items():
        _put(recipe, tree, path, value)
    _refuse_negative(recipe, tree, "")
    try:
        found: Any = TypeAdapter(recipe.settings).validate_python(tree)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        where = ".".join(str(x) for x in first["loc"])
        hint = f"write a list as JSON, for example --set '{where}=[0, 1]'" if first["type"] == "tuple_type" else first["msg"]
        raise SettingsError(f"setting '{where}' of recipe '{recipe.name}' cannot be used", got=first.get("input"), fix=hint) from wrong
    _refuse_unread(recipe, tree, asdict(found), "")
    return found


def _refuse_negative(recipe: Recipe, here: Any, path: str) -> None:
    """No recipe has a setting that may be below 0: they are counts, shares, rates and limits."""
    if isinstance(here, dict):
        for name, value in here.items():
            _refuse_negative(recipe, value, f"{path}.{name}" if path else name)
    elif isinstance(here, list | tuple):
        for value in here:
            _refuse_negative(recipe, value, path)
    elif isinstance(here, int | float) and here < 0:
        raise SettingsError(f"setting '{path}' of recipe '{recipe.name}' must not be negative", got=here, fix="give 0 or more")


def _refuse_unread(recipe: Recipe, given: Any, read: Any, path: str) -> None:
    """Names inside a nested setting that it does not have; validation passes over them."""
    if isinstance(given, dict) and isinstance(read, dict):
        for name, value in given.items():
            where = f"{path}.{name}" if path else name
            if name not in read:
                raise SettingsError(f"recipe '{recipe.name}' has no setting '{where}'", got=name, fix=did_you_mean(name, read))
            _refuse_unread(recipe, value, read[name], where)


def _put(recipe: Recipe, tree: dict[str, Any], path: str, value: Any) -> None:
    """Set one nested value. A part that is None so far (LoRA, say) is begun; of a part given as a whole the rest stays as it was."""
    *parents, last = path.split(".")
    here: Any = tree
    for name in parents:
        _must_know(recipe, here, path, name)
        if here.get(name) is None:
            here[name] = _Begun()
        here = here[name]
    _must_know(recipe, here, path, last)
    if isinstance(value, dict) and isinstance(here.get(last), dict):
        for name, inner in value.items():
            _put(recipe, tree, f"{path}.{name}", inner)
    else:
        here[last] = value


class _Begun(dict[str, Any]):
    """A part of which nothing was set before; which names it may hold shows when it is read."""


def _must_know(recipe: Recipe, here: Any, path: str, name: str) -> None:
    if not isinstance(here, _Begun) and (not isinstance(here, dict) or name not in here):
        known = list(here) if isinstance(here, dict) else [f.name for f in fields(recipe.settings)]
        raise SettingsError(f"recipe '{recipe.name}' has no setting '{path}'", got=name, fix=did_you_mean(name, known))


def parse_value(text: str) -> Any:
    """The value of NAME=VALUE: JSON where it is JSON (numbers, true, lists), else the text itself."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
