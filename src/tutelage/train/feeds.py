"""Sources at work: they hand out complete windows, and can say where they are and go back there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tutelage.engine.rendering import Rendering
from tutelage.errors import DataError, QualityGate
from tutelage.records import Example, ModelRef, Pair, Prompt
from tutelage.seeds import stream
from tutelage.train.readings import uncharged
from tutelage.train.settings import FitSettings
from tutelage.train.window import Group, Row, Window

if TYPE_CHECKING:
    from tutelage.train.network import Network


@dataclass(kw_only=True)
class Site:
    """What a source or target may use while a fit runs."""

    network: Network
    """The student, alive."""
    digest: str
    """Of the student as it was before the first step."""
    model: Path | tuple[Path, Path]
    """Where that one lies."""
    rendering: Rendering
    settings: FitSettings
    seed: int
    context_tokens: int | None
    process: int = 0
    processes: int = 1
    prompts: dict[str, Prompt] = field(default_factory=dict)
    """What the rows of this fit answer, by id; filled when a feed opens."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Why rows were left out, counted over the whole fit."""
    told: dict[str, Any] = field(default_factory=dict)
    """What a source found out on the way, as JSON by a name of its own: part of the fit's record."""
    reads: Callable[[ModelRef, str, Sequence[Row]], None] = uncharged
    """Told by whoever has a further model read rows, before it does: the model, its role, and the rows as that model sees them."""


MakeGroup = Callable[[Any, Site], Group | None]
"""(record, site) -> its rows, or None where it cannot be trained on."""


class Feed(Protocol):
    """Windows in order. `fixed` are the groups that are known before the first step, empty where they are made on the way."""

    @property
    def fixed(self) -> Sequence[Group]: ...

    @property
    def total(self) -> int:
        """How many windows there will be."""
        ...

    def next(self) -> Window | None: ...

    def state(self) -> dict[str, Any]:
        """As JSON: enough for `restore` on a newly opened feed to continue with the next window."""
        ...

    def restore(self, state: dict[str, Any]) -> None: ...


def _nothing_left(records: int, site: Site) -> DataError | QualityGate:
    """Why none of the records can be trained on. Where all are too long, another model or shorter texts are the way out."""
    reasons = ", ".join(f"{n} {why}" for why, n in site.dropped.items()) or "no records at all"
    if site.dropped.get("longer than the context"):
        return QualityGate(
            "nothing is left to train on",
            got=f"{records} records: {reasons} of {site.context_tokens} tokens",
            fix="a model with a longer context, shorter texts (the recipe's *_tokens settings), or overflow=truncate in the fit's settings",
        )
    return DataError("nothing to train on", got=f"{records} records: {reasons}", fix="look at the step that made the records")


class FixedFeed:
    """Shuffled epochs over records that are turned into rows once."""

    def __init__(
        self, records: Sequence[Example | Pair | tuple[Example, ...]], site: Site, *, role: str = "", make: MakeGroup | None = None
    ) -> None:
        """`role` is given to all rows, where there is one. `make` turns a record into its group, where `group_of` does not suffice."""
        self.fixed = [g for g in ((make or group_of)(r, site) for r in records) if g is not None]
        if role:
            self.fixed = [replace(g, rows=tuple(replace(r, role=role) for r in g.rows)) for g in self.fixed]
        if not self.fixed:
            raise _nothing_left(len(records), site)
        self._batch, self._seed = site.settings.batch, site.seed
        per_epoch = -(-len(self.fixed) // self._batch)
        planned = per_epoch * site.settings.epochs
        self.total = planned if site.settings.steps is None else min(planned, site.settings.steps)
        self._windows, self._taken = 0, 0
        self._epoch, self._order = -1, []

    def next(self) -> Window | None:
        """The last window of an epoch holds what is left of it: no window spans two epochs."""
        if self._windows >= self.total:
            return None
        self._windows += 1
        left = len(self.fixed) - self._taken % len(self.fixed)
        return Window(groups=tuple(self.draw(min(self._batch, left))))

    def draw(self, n: int) -> list[Group]:
        """The next `n` groups, epoch after epoch without end."""
        found = []
        for _ in range(n):
            epoch, place = divmod(self._taken, len(self.fixed))
            if epoch != self._epoch:
                self._epoch, self._order = epoch, list(range(len(self.fixed)))
                stream(self._seed, "order", epoch).shuffle(self._order)
            found.append(self.fixed[self._order[place]])
            self._taken += 1
        return found

    def state(self) -> dict[str, Any]:
        return {"windows": self._windows, "taken": self._taken}

    def restore(self, state: dict[str, Any]) -> None:
        self._windows, self._taken = state["windows"], state["taken"]


def encode_group(group: Group) -> dict[str, Any]:
    """As JSON, floats to the last bit."""
    return asdict(group)


def decode_group(body: dict[str, Any]) -> Group:
    return Group(rows=tuple(_decode_row(row) for row in body["rows"]), margin=body["margin"])


def _decode_row(row: dict[str, Any]) -> Row:
    facts = {name: tuple(values) for name, values in row["facts"].items()}
    lists: dict[str, Any] = {name: tuple(row[name]) for name in ("ids", "charged", "spans")}
    return Row(**{**row, **lists, "facts": facts})


def group_of(record: Example | Pair | tuple[Example, ...], site: Site) -> Group | None:
    """The rows of a record, or None where it cannot be trained on (counted in `site.dropped` with the reason)."""
    if isinstance(record, tuple):
        tied = [group_of(example, site) for example in record]
        rows = tuple(row for g in tied if g is not None for row in g.rows)
        return Group(rows=rows) if len(rows) == len(record) > 0 else None
    if site.settings.head == "embed" and isinstance(record, Example):
        return _whole(record, site)
    prompt, asked = site.rendering.prompt_ids(record.prompt), record.prompt.id
    site.prompts[asked] = record.prompt
    if isinstance(record, Pair):
        rows = [_side(prompt, asked, record, role, site) for role in ("chosen", "rejected")]
        kept = tuple(r for r in rows if r is not None)
        return Group(rows=kept, margin=record.margin or 0.0) if len(kept) == 2 else None
    row = row_of(
        prompt, record.completion, site=site, key=record.id, asked=asked, spans=record.spans, weight=record.weight, label=record.label
    )
    return None if row is None else Group(rows=(row,))


def _whole(example: Example, site: Site) -> Group | None:
    """The example as one text, as the back end reads it when it is asked for a vector."""
    ids = site.rendering.text_ids([example.prompt.text + example.completion], site.context_tokens)[0]
    if not ids:
        site.dropped["nothing to learn: all of it is masked or empty"] += 1
        return None
    return Group(rows=(Row(key=example.id, ids=tuple(ids), charged=(), spans=(), weight=example.weight, label=example.label),))


def _side(prompt: list[int], asked: str, pair: Pair, role: str, site: Site) -> Row | None:
    """One side of a pair. Where the pair's context has a critique of it, the critique follows the completion and is alone charged."""
    text, critique = (pair.chosen if role == "chosen" else pair.rejected), pair.context.get(f"{role}_critique")
    spans = () if critique is None else ((0, len(text), 0.0),)
    return row_of(prompt, text + (critique or ""), site=site, key=f"{pair.id}:{role}", asked=asked, role=role, spans=spans)


def row_of(
    prompt: list[int],
    completion: str | Sequence[int],
    *,
    site: Site,
    key: str,
    asked: str = "",
    spans: Sequence[tuple[int, int, float]] = (),
    weight: float = 1.0,
    role: str = "",
    label: int | None = None,
) -> Row | None:
    """Prompt and completion as one row; `asked` is the id of the prompt. The very first token of a row is never charged: nothing comes
    before it."""
    if isinstance(completion, str):
        answer, weights = site.rendering.weighted_completion(completion, spans)
    else:
        answer, weights = list(completion), [1.0] * len(completion)
    limit, over = site.context_tokens, 0
    if limit is not None:
        over = len(prompt) + len(answer) - limit
    if over > 0:
        policy = site.settings.overflow
        if policy == "error":
            raise DataError(
                "row is longer than the context",
                got=f"{len(prompt) + len(answer)} of {limit} tokens",
                fix="set overflow to drop or truncate",
            )
        if policy == "drop":
            site.dropped["longer than the context"] += 1
            return None
        site.dropped["truncated to the context"] += 1
        cut = min(over, max(len(prompt) - 1, 0))
        prompt = prompt[cut:]
        keep = len(answer) - (over - cut)
        answer, weights = answer[:keep], weights[:keep]
    start = len(prompt)
    charged = [(start + i, w) for i, w in enumerate(weights) if w != 0.0 and start + i > 0]
    if label is None and (not charged or weight == 0.0):
        site.dropped["nothing to learn: all of it is masked or empty"] += 1
        return None
    return Row(
        key=key,
        ids=(*prompt, *answer),
        charged=tuple(i for i, _ in charged),
        spans=tuple(w for _, w in charged),
        weight=weight,
        role=role,
        label=label,
        start=start,
        prompt=asked,
    )
