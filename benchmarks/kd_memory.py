"""Peak memory and time of one distillation loss, forward and backward: ours in tiles, the same dense, and TRL's GKD loss.

Hidden states of width 64 against vocabularies of 32k and 128k, 128 to 2,048 tokens. Every measurement runs in a process of its own;
memory is the growth of the resident peak over the state with all inputs in place, time the least of the repetitions (CPU seconds of one
thread, because a shared machine lies about the wall). The gradient is compared with a dense one in float64.

    python benchmarks/kd_memory.py            # the table and the bars
    python benchmarks/kd_memory.py --quick    # 32k and 128k at 512 tokens only
    python benchmarks/kd_memory.py --vocabulary 131072 --tokens 1024
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

HIDDEN, REPEATS = 64, 3
TILE = 8 * 2**20
LIVE_TILES = {"forward_kl": 13, "reverse_kl": 13, "jensen_shannon": 17}
"""Tensors of a tile's size that stand at once, logits, log-probabilities, gradients and what lies between. What a run takes beyond the
limit is freed memory that the allocator keeps for the next tile."""
MEMORY_BAR, TIME_BAR, GRADIENT_BAR = 0.25, 1.3, 1e-5
MIB = 2**20


def worker(method: str, divergence: str, vocab: int, tokens: int, repeats: int) -> dict[str, float]:
    """Seconds, peak growth in bytes and gradient error of one configuration; runs in its own process."""
    import torch

    from tutelage.objectives import divergences
    from tutelage.objectives.projection import TILE_BYTES, Head, by_tile

    torch.set_num_threads(1)
    torch.manual_seed(0)
    hidden, known = torch.randn(tokens, HIDDEN, requires_grad=True), torch.randn(tokens, HIDDEN)
    weight, other = (torch.randn(vocab, HIDDEN) / HIDDEN**0.5).requires_grad_(), torch.randn(vocab, HIDDEN) / HIDDEN**0.5
    beta = {"forward_kl": 0.0, "jensen_shannon": 0.5, "reverse_kl": 1.0}[divergence]
    function = getattr(divergences, divergence)

    def loss() -> torch.Tensor:
        if method == "trl":
            from trl.experimental.gkd.gkd_trainer import GKDTrainer

            student, teacher = hidden @ weight.T, (known @ other.T).detach()
            return GKDTrainer.generalized_jsd_loss(student[None], teacher[None], labels=torch.zeros(1, tokens, dtype=torch.long), beta=beta)
        tile_bytes = TILE_BYTES if method == "tiles" else 2**60
        return by_tile(function, hidden, Head(weight), (known, Head(other)), tile_bytes=tile_bytes).mean()

    if method == "trl":
        import trl.experimental.gkd.gkd_trainer  # noqa: F401  its import is not part of the loss
    warm = by_tile(function, hidden[:2], Head(weight[:8]), (known[:2], Head(other[:8]))).sum()
    warm.backward()
    hidden.grad, weight.grad = torch.zeros_like(hidden), torch.zeros_like(weight)
    seconds: list[float] = []
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    for _ in range(repeats):
        hidden.grad.zero_()
        weight.grad.zero_()
        start = time.process_time()
        loss().backward()
        seconds.append(time.process_time() - start)
    peak = _status("VmHWM") - before
    return {"seconds": min(seconds), "peak": peak, "error": _error(hidden, weight, known, other, divergence) if method == "tiles" else 0.0}


def _status(field: str) -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
    return int(line.split()[1]) * 1024


def _error(hidden, weight, known, other, divergence: str) -> float:  # type: ignore[no-untyped-def]
    import torch

    from tutelage.objectives import divergences

    # Dense, in float64, a few rows at a time: the loss is a mean over rows, so the gradients of the parts add up.
    leaves = [hidden.detach().double().requires_grad_(), weight.detach().double().requires_grad_()]
    for rows in torch.arange(len(hidden)).split(max(1, 2**23 // len(weight))):
        student, teacher = leaves[0][rows] @ leaves[1].T, known[rows].double() @ other.double().T
        (getattr(divergences, divergence)(student, teacher).sum() / len(hidden)).backward()
    mine = torch.cat([hidden.grad.flatten(), weight.grad.flatten()]).double()
    exact = torch.cat([x.grad.flatten() for x in leaves if x.grad is not None])
    return float((mine - exact).norm() / exact.norm())


def measure(method: str, divergence: str, vocab: int, tokens: int, repeats: int) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", __file__, "--worker", method, divergence, str(vocab), str(tokens), str(repeats)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[32_768, 131_072])
    parser.add_argument("--tokens", type=int, nargs="+", default=[128, 512, 1024, 2048])
    parser.add_argument("--divergence", default="jensen_shannon", choices=("forward_kl", "reverse_kl", "jensen_shannon"))
    parser.add_argument("--worker", nargs=5, metavar=("METHOD", "DIVERGENCE", "VOCAB", "TOKENS", "REPEATS"))
    parser.add_argument("--repeats", type=int, default=REPEATS)
    options = parser.parse_args()
    if options.worker:
        method, divergence, *sizes = options.worker
        print(json.dumps(worker(method, divergence, *map(int, sizes))))
        return 0
    sizes = [(v, t) for v in options.vocabulary for t in ([512] if options.quick else options.tokens)]
    print(f"{options.divergence}, hidden {HIDDEN}; least CPU seconds of {options.repeats}; growth of the peak in MiB")
    print(f"limit: the gradient of the matrix, and {LIVE_TILES[options.divergence]} tensors of {TILE // MIB} MiB, a tile of logits each")
    head = f"{'vocab':>7} {'tokens':>6} | {'tiles s':>8} {'dense s':>8} {'TRL s':>8} | {'tiles':>7} {'dense':>7} {'TRL':>7} {'limit':>6}"
    print(head + " | gradient off")
    failed: list[str] = []
    for vocab, tokens in sizes:
        tiles, dense, theirs = (measure(m, options.divergence, vocab, tokens, options.repeats) for m in ("tiles", "dense", "trl"))
        limit = vocab * HIDDEN * 4 + LIVE_TILES[options.divergence] * TILE
        seconds = " ".join(f"{r['seconds']:>8.3f}" for r in (tiles, dense, theirs))
        peaks = " ".join(f"{r['peak'] / MIB:>7.0f}" for r in (tiles, dense, theirs))
        print(f"{vocab:>7} {tokens:>6} | {seconds} | {peaks} {limit / MIB:>6.0f} | {tiles['error']:.1e}", flush=True)
        if tiles["seconds"] > TIME_BAR * dense["seconds"]:
            failed.append(f"time at {vocab} x {tokens}: {tiles['seconds'] / dense['seconds']:.2f} of dense")
        if tiles["error"] > GRADIENT_BAR:
            failed.append(f"gradient at {vocab} x {tokens}: {tiles['error']:.1e}")
        if (vocab, tokens) == (131_072, 1024) and tiles["peak"] > MEMORY_BAR * theirs["peak"]:
            failed.append(f"memory at {vocab} x {tokens}: {tiles['peak'] / theirs['peak']:.2f} of TRL's")
    print("bars held" if not failed else "bars missed: " + "; ".join(failed))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
