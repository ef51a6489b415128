"""The loop: every fit of every system goes through `fit`.

A window is complete before its forward pass; what its sums are divided by is counted first, over all processes; it is then split for
memory alone. Gradients of processes are added once per window.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import reduce as reduce_over_processes
from safetensors.torch import save_file
from torch import Tensor, nn

from tutelage.engine.digest import OWN_FILE
from tutelage.engine.loading import OpenModel
from tutelage.errors import DataError, OutsideError, SettingsError
from tutelage.hashing import content_id
from tutelage.objectives.term import Objective
from tutelage.seeds import derive
from tutelage.train.batch import Batch
from tutelage.train.checks import check_drawing, check_groups, check_needs, check_out
from tutelage.train.conditions import conditions_of
from tutelage.train.feeds import Feed, Site, encode_group
from tutelage.train.network import Network
from tutelage.train.opening import ModelPath, context_of, open_student
from tutelage.train.optim import optimisers
from tutelage.train.oracle import Oracle
from tutelage.train.saving import save_network, whole_folder
from tutelage.train.schedule import factor
from tutelage.train.settings import FitSettings
from tutelage.train.sources import Source
from tutelage.train.state import Live, load_state, save_state
from tutelage.train.step import Charge, Measured, charges_of, total
from tutelage.train.targets import Targets
from tutelage.train.watch import Watch
from tutelage.train.watcher import Watcher
from tutelage.train.window import Group, Window, count, share, split

Progress = Callable[[int, int, float], None]
"""(steps done, steps in all, loss of the step)"""

_EMPTY = "windows with nothing to learn"
_NO_MEMORY = ("can't allocate memory", "out of memory")

ALONE_BELOW = 10_000_000
"""CPU fits of fewer parameters use one thread and deterministic algorithms; parallelism is processes over seeds and arms."""


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What a fit did. The model is in `folder`."""

    folder: Path
    steps: int
    tokens: int
    """Through forward passes of the student with gradients, prompts included."""
    examples: int
    """Examples, pairs or groups, counted each time they were trained on."""
    seconds: float
    log: tuple[dict[str, Any], ...] = field(repr=False)
    """Per step: loss, the mean of every term, learning rate, gradient norm before clipping, tokens."""
    before: Mapping[str, float]
    """What the terms report about the fixed data before the first step, for example the implicit-reward win rate of DPO."""
    after: Mapping[str, float]
    dropped: Mapping[str, int]
    """Rows left out or cut, by reason."""
    notes: tuple[str, ...] = ()
    """Where something was not done as asked, and why."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """What the source found out on the way, such as the weights of domains."""
    conditions: Mapping[str, str | int | bool] = field(default_factory=dict)
    """What else the last digits of the weights can depend on; see `train.conditions`."""


def fit(
    *,
    model: ModelPath,
    source: Source,
    objective: Objective,
    targets: Targets | None = None,
    settings: FitSettings,
    seed: int,
    out: Path,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
    watch: Watch | None = None,
) -> FitResult:
    """Train `model` on `source` and write the result to `out` as an ordinary checkpoint or adapter folder.

    The same arguments on the same kind of CPU give the same weights to the last bit. With `checkpoint`, a fit that was killed continues
    from its last checkpoint (every `settings.checkpoint_every` steps) and still gives those weights.
    """
    check_needs(objective, targets, settings)
    check_drawing(objective, source)
    check_out(Path(out))
    started = time.perf_counter()
    processes = PartialState()
    device = torch.device(processes.device or "cpu")
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else None):
        torch.manual_seed(derive(seed, "fit"))
        opened, network = open_student(model, settings, device=device)
        with _alone(network):
            site = Site(
                network=network,
                digest=opened.digest,
                model=model,
                rendering=opened.rendering,
                settings=settings,
                seed=seed,
                context_tokens=context_of(opened, settings),
                process=processes.process_index,
                processes=processes.num_processes,
            )
            described = [source.describe(), objective.describe(), targets.describe() if targets else None, settings.describe(), seed]
            key = content_id([opened.digest, *described, watch.describe() if watch else None])
            run = _Run(site, source, objective, targets, processes, _Places(out=Path(out), checkpoint=checkpoint, key=key), watch)
            run.go(progress)
            _write(network, opened, run.charges, out, processes)
            conditions = conditions_of(network, processes=processes.num_processes)
    return FitResult(
        folder=out,
        steps=run.done,
        tokens=run.tokens,
        examples=run.examples,
        seconds=time.perf_counter() - started,
        log=tuple(run.log),
        before=run.before,
        after=run.after,
        dropped=dict(site.dropped),
        notes=tuple(network.notes),
        told=dict(site.told),
        conditions=conditions,
    )


@dataclass(frozen=True, kw_only=True)
class _Places:
    out: Path
    checkpoint: Path | None
    key: str


class _Run:
    """The state of one fit between its first window and its last."""

    def __init__(
        self,
        site: Site,
        source: Source,
        objective: Objective,
        targets: Targets | None,
        processes: PartialState,
        places: _Places,
        watch: Watch | None,
    ) -> None:
        self.site, self.network, self.settings = site, site.network, site.settings
        self.objective, self.processes, self.places = objective, processes, places
        self.feed: Feed = source.open(site)
        self.oracle: Oracle | None = targets.open(site) if targets else None
        self.charges = charges_of(objective, self.network, self.oracle)
        self.trained = [(n, p) for n, p in self.network.module.named_parameters() if p.requires_grad]
        own = [(f"term.{i}.{n}", p) for i, c in enumerate(self.charges) for n, p in c.own.items()]
        self.optimisers = optimisers(self.network.module, [p for _, p in own], self.settings)
        self.trained += own
        self.watcher = Watcher(watch, site, [p for _, p in self.trained]) if watch is not None else None
        self.done = self.tokens = self.examples = 0
        self.log: list[dict[str, Any]] = []
        self.before: dict[str, float] = {}
        self.after: dict[str, float] = {}

    def go(self, progress: Progress | None) -> None:
        check_groups(self.objective, self.settings, self.feed.fixed)
        if self.oracle is not None:
            self.oracle.prepare([*self.feed.fixed, *(self.watcher.groups if self.watcher else ())])
        self.before = self._report()
        self._resume()
        self.network.module.train()
        while (window := self.feed.next()) is not None:
            with explained(self.settings, self.network.device.type):
                entry = self._step(window)
            self.log.append(entry)
            if progress is not None:
                progress(self.done, self.feed.total, entry["loss"])
            if self.watcher is not None and self.watcher.due(self.done):
                entry["watched"] = self.watcher.see(self._mean(self.watcher.groups))
                if self.watcher.over:
                    self.network.notes.append(f"stopped at step {self.done}: the watched objective no longer falls")
                    break
            if self.places.checkpoint is not None and self.settings.checkpoint_every and self.done % self.settings.checkpoint_every == 0:
                self._save()
        if self.done and self.site.dropped[_EMPTY] == self.done:
            raise DataError("no window held anything to learn", got=f"{self.done} steps", fix="look at what the edit hook leaves")
        if self.watcher is not None:
            self.watcher.put_back_best()
        self.network.module.eval()
        self.after = self._report()

    def _step(self, window: Window) -> dict[str, Any]:
        if not self.done and not self.feed.fixed:
            check_groups(self.objective, self.settings, window.groups)
        progress = self.done / self.feed.total
        means = self._charge(window.groups, progress)
        loss = self._weighed(means, progress)
        if not math.isfinite(loss):
            self._give_up(window, "loss", loss)
        if not any(count(c.term, window.groups) for c in self.charges):
            self.site.dropped[_EMPTY] += 1
        rate = factor(self.settings, self.done, self.feed.total)
        norm = self._norm()
        if not math.isfinite(norm):
            self._give_up(window, "gradient", norm)
        self._update(rate, norm)
        self.done += 1
        self.tokens += window.tokens
        self.examples += len(window.groups)
        terms = {c.term.name: m for c, m in zip(self.charges, means, strict=True)}
        return {
            "step": self.done,
            "loss": loss,
            "terms": terms,
            "lr": self.settings.lr * rate,
            "gradient_norm": norm,
            "tokens": window.tokens,
        }

    def _charge(self, groups: Sequence[Group], progress: float, *, learn: bool = True) -> list[float]:
        """The mean of every term over the groups, all processes together; their weighed sum's gradient is left on the parameters."""
        mine = share(groups, self.site.process, self.site.processes, whole=self.objective.coupled)
        counts = {place: count(charge.term, groups) for place, charge in enumerate(self.charges)}
        means = [0.0] * len(self.charges)
        for part in split(mine, self.objective, self.settings.micro_tokens, padded=self.network.layout != "packed"):
            loss, parts = total(self.charges, self._measured(part), counts, progress)
            means = [m + p for m, p in zip(means, parts, strict=True)]
            if learn and loss is not None and loss.requires_grad:
                loss.backward()
        return means if self.processes.num_processes == 1 else _reduced(torch.tensor(means, dtype=torch.float64)).tolist()

    def _mean(self, groups: Sequence[Group]) -> float:
        """The objective on groups that are not learned from."""
        with self.network.frozen():
            return self._weighed(self._charge(groups, self.done / self.feed.total, learn=False), self.done / self.feed.total)

    def _weighed(self, means: Sequence[float], progress: float) -> float:
        return sum(m * c.term.weight_at(progress) for m, c in zip(means, self.charges, strict=True))

    def _give_up(self, window: Window, what: str, value: float) -> None:
        saved = self.places.out.parent / f"{self.places.out.name}.bad-window.json"
        if self.processes.is_main_process:
            saved.parent.mkdir(parents=True, exist_ok=True)
            text = self.site.rendering.text
            rows = [{"text": text(r.ids), **encode_group(g)} for g in window.groups for r in g.rows[:1]]
            saved.write_text(json.dumps({"step": self.done, what: str(value), "groups": rows}, indent=1), encoding="utf-8")
        raise SettingsError(
            f"{what} is not a finite number at step {self.done + 1}",
            got=f"{value}; the window is saved in {saved}",
            fix="lower the learning rate, clip the gradient, or look at the rows of that window",
        )

    def _measured(self, groups: Sequence[Group]) -> Measured:
        device = self.network.device
        batch = Batch(groups, device, share=self.settings.layout == "shared")
        return Measured(self.network, batch, self.oracle, tile_bytes=self.settings.tile_on(device.type))

    def _norm(self) -> float:
        """Of the whole gradient, which is complete from here on."""
        parameters = [p for _, p in self.trained]
        if self.processes.num_processes > 1:
            _add_gradients(parameters)
        return float(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None], foreach=True))

    def _update(self, rate: float, norm: float) -> None:
        if self.settings.clip is not None and norm > 0:
            parameters = [p for _, p in self.trained]
            nn.utils.clip_grads_with_norm_(parameters, self.settings.clip, torch.tensor(norm), foreach=True)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["base_lr"] * rate
            optimiser.step()
            optimiser.zero_grad()

    def _report(self) -> dict[str, float]:
        """Means over the fixed data of what the terms report, without dropout."""
        reporting = [c for c in self.charges if c.report is not None]
        if not reporting or not self.feed.fixed:
            return {}
        sums: dict[str, list[float]] = {}
        with self.network.frozen():
            for groups in split(self.feed.fixed, self.objective, self.settings.micro_tokens, padded=self.network.layout != "packed"):
                measured = self._measured(groups)
                if not self.done and self.oracle is not None and self.oracle.is_student:
                    measured.log_probs = measured.reference_log_probs  # known already, and a tie is a tie, not a rounding error
                for charge in reporting:
                    assert charge.report is not None
                    named: dict[str, Tensor] = charge.report(*[measured.get(n) for n in charge.term.takes])
                    for name, values in named.items():
                        held = sums.setdefault(name, [0.0, 0.0])
                        held[0] += float(values.double().sum())
                        held[1] += values.numel()
        return {name: s / n for name, (s, n) in sums.items() if n}

    def _live(self) -> Live:
        best = self.watcher.tensors() if self.watcher is not None else {}
        buffers = {**dict(self.network.module.named_buffers()), **best}
        return Live(trained=dict(self.trained), buffers=buffers, optimisers=self.optimisers)

    def _save(self) -> None:
        if self.places.checkpoint is not None and self.processes.is_main_process:
            place = {"feed": self.feed.state(), "done": self.done, "tokens": self.tokens, "examples": self.examples, "log": self.log}
            place |= {"dropped": dict(self.site.dropped), "watcher": self.watcher.state() if self.watcher is not None else None}
            save_state(self.places.checkpoint, self.places.key, self._live(), place)
        self.processes.wait_for_everyone()

    def _resume(self) -> None:
        if self.places.checkpoint is None:
            return
        place = load_state(self.places.checkpoint, self.places.key, self._live())
        if place is None:
            return
        self.feed.restore(place["feed"])
        self.done, self.tokens, self.examples, self.log = place["done"], place["tokens"], place["examples"], place["log"]
        self.site.dropped.clear()
        self.site.dropped.update(place["dropped"])
        if self.watcher is not None:
            self.watcher.restore(place["watcher"])


def _add_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """The sum of all processes' gradients, in one message. A process that had no rows adds zeros."""
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat = _reduced(torch.cat([g.reshape(-1) for g in grads]))
    for parameter, piece in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = piece.view_as(parameter).clone()


def _reduced(values: Tensor) -> Tensor:
    out: Any = reduce_over_processes(values, reduction="sum")
    return out


@contextmanager
def _alone(network: Network) -> Iterator[None]:
    """One thread and deterministic algorithms for small models on a CPU; as before afterwards."""
    if network.device.type != "cpu" or network.parameters >= ALONE_BELOW:
        yield
        return
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # pyright: ignore[reportAttributeAccessIssue]
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # pyright: ignore[reportAttributeAccessIssue]


def _write(network: Network, opened: OpenModel, charges: Sequence[Charge], out: Path, processes: PartialState) -> None:
    if processes.is_main_process:
        with whole_folder(Path(out)) as part:
            save_network(network, opened.folder, part)
            own = {f"{c.term.name}.{n}": p.detach().clone() for c in charges for n, p in c.own.items()}
            if own:
                save_file(own, part / OWN_FILE)
    processes.wait_for_everyone()


@contextmanager
def explained(settings: FitSettings, device: str = "cpu") -> Iterator[None]:
    """Out of memory, said with what to change."""
    try:
        yield
    except (MemoryError, RuntimeError) as wrong:
        text = str(wrong).lower()
        if not isinstance(wrong, MemoryError | torch.OutOfMemoryError) and not any(words in text for words in _NO_MEMORY):
            raise
        tile = settings.tile_on(device)
        raise OutsideError(
            "memory ran out in a training step",
            got=f"micro_tokens={settings.micro_tokens}, tile_bytes={tile}",
            fix=f"try micro_tokens={max(1, settings.micro_tokens // 4)} and tile_bytes={max(1, tile // 4)}; "
            "the numbers stay the same, batch need not change",
        ) from wrong


__all__ = ["ALONE_BELOW", "OWN_FILE", "FitResult", "Progress", "explained", "fit"]
