"""CLINC150: the intent of a request, one of 150 or outside of them, read from `TUTELAGE_DATA`/clinc150/data_full.json.

Options: `oos=no` leaves the requests outside of scope out; `seed_size` (two an intent by default), `train_size`, `validation_size`,
`test_size`, `split_seed`; `held_back`, the share of the published training rows (by a hash of the text) that this task does not show, so
that a stand-in for a writing teacher has real requests to hand out that nobody trains, chooses or is tested on (`held_rows`);
`tested=validation`, for tuning: the test problems are one half of the validation rows, and the other half is left to choose by.

Five texts of the published file stand in two splits. By the rule that the training side gives way, the test and validation rows stay and
these rows are dropped:

- train todo_list "what is on my to do list" (validation: reminder)
- train whisper_mode "turn up your volume" (validation: change_volume)
- train greeting "hey what's up" (validation: greeting)
- train what_is_your_name "what's your designation" (test: user_name)
- train how_old_are_you "where did you grow up" (test: where_are_you_from)
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from tutelage.errors import DataError
from tutelage.records import Problem
from tutelage.seeds import derive
from tutelage.tasks.options import Options
from tutelage.tasks.published import published_file, published_task
from tutelage.tasks.splits import at, same_question, thin, without_repeats
from tutelage.tasks.task import Task, Technique
from tutelage.verify.choice import choice

NAME = "clinc150"
VERSION = "1"
LICENCE = "CC BY 3.0"
PUBLISHED_ROWS = {"train": 15000, "val": 3000, "test": 4500, "oos_train": 100, "oos_val": 100, "oos_test": 1000}
OUTSIDE = "oos"
SEEDS_PER_INTENT = 2

TECHNIQUES = (
    Technique(
        name="expert",
        instruction="You design voice assistants. Name what the user wants done, then the object of it, then the intent that fits both.",
    ),
    Technique(
        name="rules", instruction="First recall which intents come close and what sets them apart. Then decide which one the request is."
    ),
    Technique(name="bare", instruction="Name the intent."),
    Technique(
        name="exam", instruction="Read the request twice, rule out intents that cannot be meant, and choose among those that are left."
    ),
)


def names() -> tuple[str, ...]:
    return (NAME,)


def load(name: str, options: Mapping[str, Any]) -> Task:
    chosen = Options(name, options)
    outside = chosen.one_of("oos", ("yes", "no"), "yes") == "yes"
    seed_size = chosen.whole("seed_size", least=2)
    sizes = {split: chosen.whole(f"{split}_size", least=2) for split in ("train", "validation", "test")}
    split_seed = chosen.whole("split_seed", 0) or 0
    held_back = chosen.share("held_back", 0.0)
    tuning = chosen.one_of("tested", ("test", "validation"), "test") == "validation"
    chosen.done()
    read = _read(published_file(name, "clinc150/data_full.json"), outside=outside)
    unique, dropped = without_repeats(read)
    unique["train"] = tuple(p for p in unique["train"] if not _is_held(p, held_back))
    if tuning:
        halves = [derive(0, "tested", same_question(p)) % 2 for p in unique["validation"]]
        rows = tuple(zip(unique["validation"], halves, strict=True))
        unique["test"], unique["validation"] = (tuple(p for p, drawn in rows if drawn == half) for half in (0, 1))
    labels = tuple(sorted({problem.answer or "" for problem in unique["train"]}))
    seed = _seeds(unique["train"], per_label=SEEDS_PER_INTENT, size=seed_size, split_seed=split_seed)
    taken = {problem.id for problem in seed}
    splits = {
        "seed": seed,
        "train": thin([p for p in unique["train"] if p.id not in taken], sizes["train"], seed=split_seed),
        "validation": thin(unique["validation"], sizes["validation"], seed=split_seed),
        "test": thin(unique["test"], sizes["test"], seed=split_seed),
    }
    return published_task(
        name,
        splits,
        seeds=2,
        fix="the published file is longer; ask for larger splits",
        options=options,
        version=VERSION,
        licence=LICENCE,
        chance=1 / len(labels),
        description=f"Name the intent of a request to an assistant. The answer is one of {len(labels)} labels: {', '.join(labels)}.",
        verify=partial(choice, choices=labels),
        techniques=TECHNIQUES,
        labels=labels,
        dropped=dropped,
    )


def held_rows(share: float) -> list[Problem]:
    """The training rows, requests outside of scope left out, that the task does not show where `held_back` is this share."""
    unique, _ = without_repeats(_read(published_file(NAME, "clinc150/data_full.json"), outside=False))
    return [p for p in unique["train"] if _is_held(p, share)]


def _is_held(problem: Problem, share: float) -> bool:
    return derive(0, "held back", same_question(problem)) % 1000 < 1000 * share


def _seeds(problems: tuple[Problem, ...], *, per_label: int, size: int | None, split_seed: int) -> tuple[Problem, ...]:
    """`per_label` of each label by a hash of the text, in the order of the rows, thinned to `size`."""
    drawn: dict[str | None, list[tuple[int, int]]] = {}
    for place, problem in enumerate(problems):
        drawn.setdefault(problem.answer, []).append((derive(split_seed, "seed", same_question(problem)), place))
    places = sorted(place for rows in drawn.values() for _, place in sorted(rows)[:per_label])
    return thin([problems[place] for place in places], size, seed=split_seed)


def _read(path: Path, *, outside: bool) -> dict[str, list[Problem]]:
    try:
        published = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as broken:
        raise DataError(f"file of clinc150 is not as published: {broken}", got=str(path), fix="download it again") from broken
    splits: dict[str, list[Problem]] = {"train": [], "validation": [], "test": []}
    for part in PUBLISHED_ROWS:
        if part not in published:
            raise DataError(f"file of clinc150 has no split '{part}'", got=", ".join(published), fix="data_full.json is needed")
        split = {"val": "validation"}.get(part.removeprefix("oos_"), part.removeprefix("oos_"))
        if part.startswith("oos_") and not outside:
            continue
        for line, (text, label) in enumerate(published[part], start=1):
            splits[split].append(Problem(text=text.strip(), answer=label, skill=NAME, origin=at(path, part, line)))
    return splits
