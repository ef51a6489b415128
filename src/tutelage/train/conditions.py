"""Under what a fit was computed: recorded beside its weights, never part of its key.

A key says what was asked; asking for the same with more threads is the same question. Under ten million parameters the answer is the same
too, since such fits use one thread and deterministic algorithms on a CPU. Larger ones differ in the last digits between thread counts,
devices and library versions; whoever finds another digest under one key reads here why.
"""

from __future__ import annotations

from importlib.metadata import version

import torch

from tutelage.train.network import Network

Condition = str | int | bool


def conditions_of(network: Network, *, processes: int) -> dict[str, Condition]:
    """Device, processes, threads, whether sums are repeatable, instruction set and the versions of what computes."""
    device = network.device
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processes": processes,
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        **{name: version(name) for name in ("torch", "transformers", "peft")},
    }
