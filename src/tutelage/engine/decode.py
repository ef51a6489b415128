"""Completions and log-probabilities from a torch module, over token ids: for the in-process back end and for rollouts in training.

The module may be in the middle of training; its mode and attention are put back as they were.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tutelage.engine.attention import Unshareable
from tutelage.engine.noise import pick, row_key, uniform
from tutelage.engine.plain import PlainModule, asked_plainly
from tutelage.engine.shared import SharedModule, prefix_sharing
from tutelage.engine.tree import Ids, cut, plan_tree

_COMPACT_BELOW = 0.8
"""Finished rows leave the batch when at most this share is still going; a step over a few dead rows is cheaper than moving the others."""
_LIVE_ROWS = 4096
"""Rows that grow together: beyond this a step only gets longer."""

Stop = Callable[[Sequence[int]], bool]
"""Whether a completion that has grown to these ids is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """One completion as ids."""

    ids: tuple[int, ...]
    """Everything that was drawn, the id that ended it included."""
    finish: str
    """`stop` or `length`."""
    logprobs: tuple[float, ...] | None = None
    """Of each id under the untempered distribution, in nats."""


class _Rows(Protocol):
    def feed(self, tokens: Tensor, positions: Tensor) -> Tensor: ...
    def keep(self, index: Tensor) -> None: ...


@torch.no_grad()
def generate_ids(
    module: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int | Sequence[int],
    stop_ids: Collection[int],
    temperature: float = 0.0,
    top_p: float = 1.0,
    samples: int = 1,
    seed: int = 0,
    stop: Stop | None = None,
    logprobs: bool = False,
    vocabulary: int | None = None,
    share: bool | None = None,
) -> list[list[Decoded]]:
    """For each prompt, in order, `samples` completions.

    Prompts are ids, at least one each. `max_tokens` is one bound or one for each prompt. Equal prompts (with equal bounds) are answered
    once. `vocabulary`: ids from here on are never drawn. `share`: None shares prefixes where the architecture allows it, False never.
    """
    bounds = [max_tokens] * len(prompts) if isinstance(max_tokens, int) else list(max_tokens)
    asked = [(tuple(ids), bound) for ids, bound in zip(prompts, bounds, strict=True)]
    unique = list(dict.fromkeys(asked))
    if not unique:
        return []
    if any(not ids for ids, _ in unique):
        raise ValueError("a prompt without tokens cannot be continued")
    draw = _Draw(temperature, top_p, seed, frozenset(stop_ids), stop, logprobs)
    found: dict[int, list[Decoded]] = {}
    whole = [ids for ids, _ in unique]
    limits = [bound for _, bound in unique]
    if shareable(module) if share is None else share:
        with prefix_sharing(module):
            shared = SharedModule(module, vocabulary=vocabulary)
            room = max(limits)
            budget = min(shared.sizes.held_tokens, _LIVE_ROWS * (samples * room + 1))
            for part in cut(whole, extra=samples * room, budget=budget):
                mine = [whole[i] for i in part]
                for rows, logits, live in shared.branches(plan_tree(mine), mine, samples=samples, room=room):
                    _grow(live, [part[i] for i in rows], logits, whole, limits, samples, draw, found)
    else:
        with asked_plainly(module):
            for rows, logits, live in PlainModule(module, vocabulary=vocabulary).branches(whole, samples=samples):
                _grow(live, rows, logits, whole, limits, samples, draw, found)
    number = {item: i for i, item in enumerate(unique)}
    return [found[number[item]] for item in asked]


@dataclass(frozen=True, slots=True)
class _Draw:
    temperature: float
    top_p: float
    seed: int
    stop_ids: frozenset[int]
    stop: Stop | None
    logprobs: bool


def _grow(
    live: _Rows,
    rows: Sequence[int],
    logits: Tensor,
    prompts: Sequence[Ids],
    limits: Sequence[int],
    samples: int,
    draw: _Draw,
    found: dict[int, list[Decoded]],
) -> None:
    """Draw until every row is over. Row r belongs to request `rows[r]`; its samples stand one after another."""
    device, count = logits.device, len(rows)
    keys = None
    if draw.temperature > 0:
        keys = np.array([row_key(draw.seed, prompts[request], r % samples) for r, request in enumerate(rows)], dtype=np.uint64)
    bounds = np.array([limits[request] for request in rows])
    positions = torch.tensor([len(prompts[request]) for request in rows], device=device)
    stops = torch.tensor(sorted(draw.stop_ids), device=device)
    ids: list[list[int]] = [[] for _ in range(count)]
    gains: list[list[float]] = [[] for _ in range(count)]
    finish = ["length"] * count
    alive = np.arange(count)  # numbers of the rows that `live` still holds
    going = np.ones(count, dtype=bool)  # of those, which are not over
    step = 0
    while True:
        noise = None if keys is None else uniform(keys[alive], step)
        tokens = pick(logits, temperature=draw.temperature, top_p=draw.top_p, noise=noise)
        drawn = tokens.tolist()
        surprise = _gains(logits, tokens) if draw.logprobs else None
        ended = torch.isin(tokens, stops).cpu().numpy() if len(stops) else np.zeros(len(alive), dtype=bool)
        step += 1
        full = bounds[alive] <= step
        for place in np.flatnonzero(going):
            row = alive[place]
            ids[row].append(drawn[place])
            if surprise is not None:
                gains[row].append(surprise[place])
            if ended[place] or (draw.stop is not None and draw.stop(ids[row])):
                finish[row] = "stop"
                going[place] = False
            elif full[place]:
                going[place] = False
        left = int(going.sum())
        if left == 0:
            break
        if left <= _COMPACT_BELOW * len(alive):
            index = torch.from_numpy(np.flatnonzero(going)).to(device)
            live.keep(index)
            tokens, positions = tokens.index_select(0, index), positions.index_select(0, index)
            alive, going = alive[going], np.ones(left, dtype=bool)
        logits = live.feed(tokens, positions)
        # Rows that are over stay where they ended: one step further may lie behind the last position that the model has.
        positions = positions + torch.from_numpy(going).to(device)
    for row, request in enumerate(rows):
        decoded = Decoded(ids=tuple(ids[row]), finish=finish[row], logprobs=tuple(gains[row]) if draw.logprobs else None)
        found.setdefault(request, []).append(decoded)


def _gains(logits: Tensor, tokens: Tensor) -> list[float]:
    return _log_probabilities(logits, tokens).tolist()


def _log_probabilities(logits: Tensor, tokens: Tensor) -> Tensor:
    """(rows, vocabulary), (rows,) -> (rows,) in float32."""
    logits = logits.float()
    return logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)


@torch.no_grad()
def score_ids(
    module: Any,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    *,
    vocabulary: int | None = None,
    share: bool | None = None,
) -> list[tuple[float, ...]]:
    """For each (prompt, completion), in order, the log-probability in nats of every completion id. Equal pairs are scored once."""
    pairs = [(tuple(prompt), tuple(completion)) for prompt, completion in zip(prompts, completions, strict=True)]
    unique = [pair for pair in dict.fromkeys(pairs) if pair[1]]
    if any(not prompt for prompt, _ in unique):
        raise ValueError("a completion cannot be scored without a token in front of it")
    whole = [prompt + completion for prompt, completion in unique]
    ends = [len(completion) for _, completion in unique]
    found: dict[tuple[Ids, Ids], tuple[float, ...]] = {}

    def take(rows: Sequence[int], logits: Tensor) -> None:
        tokens = torch.tensor([i for r in rows for i in unique[r][1]], device=logits.device)
        gains = _log_probabilities(logits, tokens).tolist()
        offset = 0
        for r in rows:
            found[unique[r]] = tuple(gains[offset : offset + ends[r]])
            offset += ends[r]

    if not unique:
        pass
    elif shareable(module) if share is None else share:
        with prefix_sharing(module):
            shared = SharedModule(module, vocabulary=vocabulary)
            # Only trunks are held; leaves are passed through.
            for part in cut(whole, extra=0, budget=shared.sizes.held_tokens):
                mine, lasts = [whole[i] for i in part], [ends[i] for i in part]
                plan = plan_tree(mine, open_ends=[n + 1 for n in lasts])
                for rows, logits in shared.score(plan, mine, lasts):
                    take([part[i] for i in rows], logits)
    else:
        with asked_plainly(module):
            for rows, logits in PlainModule(module, vocabulary=vocabulary).score(whole, ends):
                take(rows, logits)
    return [found.get(pair, ()) for pair in pairs]


_SHAREABLE: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


def shareable(module: Any) -> bool:
    """Whether prefix sharing gives this module's answers: looked up in its configuration, then tried on a few tokens, once."""
    core = module.get_base_model() if hasattr(module, "get_base_model") else module
    if core not in _SHAREABLE:
        _SHAREABLE[core] = _may_share(core) and _try_sharing(module)
    return _SHAREABLE[core]


def _may_share(core: Any) -> bool:
    import inspect

    config = core.config.get_text_config()
    known = inspect.signature(core.forward).parameters
    if not {"position_ids", "logits_to_keep"} <= known.keys() or not getattr(core, "_supports_attention_backend", False):
        return False
    if getattr(core, "_is_stateful", False) or set(getattr(config, "layer_types", None) or ["full_attention"]) != {"full_attention"}:
        return False
    if getattr(config, "sliding_window", None) is not None and getattr(config, "use_sliding_window", True):
        return False
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = {rope.get("rope_type")} | {part.get("rope_type") for part in rope.values() if isinstance(part, dict)}
    return not kinds & {"dynamic", "longrope"}  # their angles depend on the longest row of a batch


@torch.no_grad()
def _try_sharing(module: Any) -> bool:
    """The logits of rows on a shared trunk against those of the same rows alone."""
    config = module.config.get_text_config()
    top = min(config.vocab_size, 97)
    trunk = [(7 * i + 3) % top for i in range(16)]
    rows = [(*trunk, *((5 * i + 11 * r) % top for i in range(3 + 2 * r))) for r in range(3)]
    ends = [2, 3, 4]
    with asked_plainly(module):
        plain = {i: row for group, logits in PlainModule(module).score(rows, ends) for i, row in _by_row(group, logits, ends)}
    try:
        with prefix_sharing(module):
            plan = plan_tree(rows, open_ends=[n + 1 for n in ends])
            ours = {i: row for group, logits in SharedModule(module).score(plan, rows, ends) for i, row in _by_row(group, logits, ends)}
    except torch.OutOfMemoryError:  # says nothing of the architecture
        raise
    except (Unshareable, TypeError, ValueError, RuntimeError, AttributeError, NotImplementedError):
        return False
    loose = 0.05 if next(module.parameters()).dtype in (torch.bfloat16, torch.float16) else 1e-3
    return all((ours[i] - plain[i]).abs().max() <= loose * max(1.0, float(plain[i].abs().max())) for i in plain)


def _by_row(rows: Sequence[int], logits: Tensor, ends: Sequence[int]) -> list[tuple[int, Tensor]]:
    return list(zip(rows, logits.float().split([ends[i] for i in rows]), strict=True))
