"""The options that several verbs share, and how those that name a run become a request."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from tutelage.errors import SettingsError

if TYPE_CHECKING:
    from tutelage.experiments.request import Request

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
TaskName = Annotated[str, typer.Option("--task", help="folds/*, gsm8k, bbh/NAME, clinc150, file:PATH, hub:ID.")]
Teacher = Annotated[
    str | None, typer.Option("--teacher", help="bundled:teacher, hf:FOLDER, hf:ORG/NAME, openai:MODEL@URL or recorded:FILE.")
]
Student = Annotated[str | None, typer.Option("--student", help="bundled:student, hf:FOLDER, hf:ORG/NAME or encoder:NAME.")]
Pool = Annotated[
    list[str] | None,
    typer.Option("--pool", help="A further model (ARTE: for choosing probes; CFT: writes candidates; LbT: a student); may be repeated."),
]
Seed = Annotated[list[int] | None, typer.Option("--seed", help="A seed, 0 by default; may be repeated.")]
Seeds = Annotated[int | None, typer.Option("--seeds", help="That many seeds: 0, 1, 2, ...")]
Preset = Annotated[
    str | None, typer.Option("--preset", help="paper, laptop or toy; laptop by default when the student is bundled, else paper.")
]
Toy = Annotated[bool, typer.Option("--toy", help="Short for --preset toy: seconds, to see that everything runs.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", help="NAME=VALUE, a setting of the recipe (nested: sft.lr=1e-4); may be repeated.")
]
TaskSets = Annotated[
    list[str] | None, typer.Option("--task-set", help="NAME=VALUE, an option of the task (a column name, sizes); may be repeated.")
]
Arms = Annotated[
    list[str] | None,
    typer.Option("--arm", help="An arm of the recipe, or `all`; may be repeated. `show RECIPE` names those that run by default."),
]
WeakSandbox = Annotated[
    bool,
    typer.Option("--allow-weak-sandbox", help="Run generated code in a plain process with limits where bubblewrap is missing."),
]
TestLimit = Annotated[int | None, typer.Option("--test-limit", help="Evaluate on that many test problems only.", min=1)]


def requested(
    recipe: str,
    task: TaskName,
    teacher: Teacher = None,
    student: Student = None,
    pool: Pool = None,
    seed: Seed = None,
    seeds: Seeds = None,
    preset: Preset = None,
    toy: Toy = False,
    sets: Sets = None,
    task_sets: TaskSets = None,
    arm: Arms = None,
    test_limit: TestLimit = None,
    allow_weak_sandbox: WeakSandbox = False,
) -> Request:
    """The request that these options name, resolved and checked."""
    from tutelage.experiments.request import resolve_request

    if toy and preset not in (None, "toy"):
        raise SettingsError("--toy and --preset disagree", got=preset, fix="use one of them")
    return resolve_request(
        recipe,
        task=task,
        teacher=teacher,
        student=student,
        pool=pool or (),
        arms=arm or (),
        seeds=named_seeds(seed, seeds),
        preset="toy" if toy else preset,
        overrides=pairs(sets, "--set"),
        task_options=pairs(task_sets, "--task-set"),
        test_limit=test_limit,
        allow_weak_sandbox=allow_weak_sandbox,
    )


def names_a_request(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb whose first argument is a Request: on the command line the options of `requested` stand in its place."""
    shared = inspect.signature(requested).parameters
    own = dict(list(inspect.signature(verb).parameters.items())[1:])

    @functools.wraps(verb)
    def typed(**given: Any) -> None:
        verb(requested(**{name: given.pop(name) for name in shared}), **given)

    # What typer reads: the names with their types, in the order of the help page.
    hints = {
        **get_type_hints(verb, _Namespace(verb), include_extras=True),
        **get_type_hints(requested, _Namespace(requested), include_extras=True),
    }
    parameters = [p.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY) for name, p in {**shared, **own}.items()]
    typed.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
    typed.__annotations__ = {p.name: p.annotation for p in parameters}
    return typed


class _Namespace(dict[str, Any]):
    """The names that a function's annotations may use; Request is any, since nothing is imported for a help page."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function.__globals__, Request=Any)


def named_seeds(seed: Sequence[int] | None, seeds: int | None) -> Sequence[int]:
    """The seeds of `--seed` and `--seeds`: 0 where neither is given."""
    if seed and seeds:
        raise SettingsError("--seed and --seeds name the seeds twice", fix="use one of them")
    if seeds is not None and seeds < 1:
        raise SettingsError("--seeds must be at least 1", got=seeds, fix="--seeds 3 runs the seeds 0, 1 and 2")
    return seed or range(seeds if seeds is not None else 1)


def pairs(texts: Sequence[str] | None, option: str) -> dict[str, Any]:
    """NAME=VALUE, as often as it was given."""
    from tutelage.experiments.request import parse_value

    found = {}
    for text in texts or ():
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise SettingsError(f"{option} takes NAME=VALUE", got=text, fix=f"for example {option} NAME=8")
        found[name.strip()] = parse_value(value)
    return found


def print_json(value: Any) -> None:
    import orjson

    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS))
    sys.stdout.buffer.flush()
