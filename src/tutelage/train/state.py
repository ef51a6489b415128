"""Checkpoints inside a fit: weights, optimiser, random states and the source's place, so that a killed fit continues to the last bit.

Everything is safetensors and JSON; nothing here is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tutelage.errors import StorageError
from tutelage.train.saving import tidied, whole_folder

_TENSORS, _PLACE = "state.safetensors", "place.json"


@dataclass(frozen=True, kw_only=True)
class Live:
    """The parts of a fit that change from step to step."""

    trained: Mapping[str, nn.Parameter]
    buffers: Mapping[str, Tensor]
    optimisers: Sequence[torch.optim.Optimizer]


def save_state(folder: Path, key: str, live: Live, place: dict[str, Any]) -> None:
    """Write the state beside the old one and swap."""
    tensors: dict[str, Tensor] = {f"weight/{n}": p.detach().contiguous().clone() for n, p in live.trained.items()}
    tensors |= {f"buffer/{n}": b.contiguous().clone() for n, b in live.buffers.items()}
    for number, optimiser in enumerate(live.optimisers):
        for index, values in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{number}/{index}/{n}": torch.as_tensor(v).contiguous().clone() for n, v in values.items()}
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    with whole_folder(folder) as part:
        save_file(tensors, part / _TENSORS)
        (part / _PLACE).write_text(json.dumps({"key": key, **place}), encoding="utf-8")


def load_state(folder: Path, key: str, live: Live) -> dict[str, Any] | None:
    """Put the state back into the live objects and return the place; None where there is none, or it is of another fit.

    A folder that is half there was being removed, since it is written whole: the fit starts anew and comes to the same weights.
    """
    tidied(folder)
    if not (folder / _PLACE).is_file() or not (folder / _TENSORS).is_file():
        return None
    try:
        place = json.loads((folder / _PLACE).read_text(encoding="utf-8"))
        if place.pop("key") != key:
            return None
        with safe_open(str(folder / _TENSORS), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except (ValueError, KeyError, OSError, SafetensorError) as broken:
        raise StorageError(
            "checkpoint of the fit cannot be read", got=f"{folder}: {broken}", fix="remove the folder; the fit starts anew"
        ) from broken
    with torch.no_grad():
        for name, parameter in live.trained.items():
            parameter.copy_(tensors[f"weight/{name}"])
        for name, buffer in live.buffers.items():
            buffer.copy_(tensors[f"buffer/{name}"])
    for number, optimiser in enumerate(live.optimisers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith(f"optimiser/{number}/"):
                _, _, index, field = name.split("/")
                state.setdefault(int(index), {})[field] = value
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    torch.set_rng_state(tensors["random/cpu"])
    if torch.cuda.is_available() and "random/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random/cuda"])
    return place
