"""Tokens per second of training: ours, TRL's trainers, and a bare packed torch loop as the limit, in one invocation.

A Llama of 7.8 M parameters, ragged lengths (log-normal, 10 to 400 tokens), batches of 8, one thread. Every run is a process of its own;
the first step is left out, and so are loading and saving. Tokens are counted where they are fed: those of each batch, without padding.
Rates are per CPU second, because a shared machine lies about the wall; the wall rate is printed beside it.

TRL runs once with its defaults (slow beyond measure on a CPU without bfloat16 arithmetic; such runs get a quarter of the rows) and once in
float32 without gradient checkpointing (what ours does). Packed by TRL, a batch is a few rows full of texts (here 2 of 1,024 tokens), so
it takes few large steps instead of many small ones, and on a CPU its texts see one another; ours is shown with larger windows beside it.

    python benchmarks/training_throughput.py              # the table and the bars
    python benchmarks/training_throughput.py --examples 48 --kind dpo
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

WIDTH, LAYERS, HEADS, WORDS, BATCH = 256, 7, 8, 4000, 8
BARS = {"sft / TRL defaults": 2.5, "dpo / TRL defaults": 2.0, "sft / bare packed loop": 0.9}


def make(folder: Path, examples: int) -> None:
    """A random model whose tokens are words, and texts of ragged lengths."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<pad>", "<s>", "</s>", *(f"w{i}" for i in range(WORDS))]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<pad>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=688,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    draw = random.Random(0)

    def text(n: int) -> str:
        return " ".join(f"w{draw.randrange(WORDS)}" for _ in range(n))

    rows: list[dict[str, str]] = []
    for _ in range(examples):
        length = int(min(400, max(10, draw.lognormvariate(4.2, 0.8))))
        head = max(3, length // 3)
        rows.append({"prompt": text(head), "chosen": text(length - head), "rejected": text(max(3, (length - head) // 2))})
    (folder / "rows.json").write_text(json.dumps(rows))


class Clock:
    """CPU and wall seconds after the first step."""

    def __init__(self) -> None:
        self.first: tuple[float, float] | None = None
        self.last = (0.0, 0.0)

    def step(self) -> None:
        now = (time.process_time(), time.perf_counter())
        self.first = self.first or now
        self.last = now

    def seconds(self) -> tuple[float, float]:
        assert self.first is not None
        return self.last[0] - self.first[0], self.last[1] - self.first[1]


def worker(kind: str, folder: Path) -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    rows: list[dict[str, str]] = json.loads((folder / "rows.json").read_text())
    clock = Clock()
    rows = rows[: max(3 * BATCH, len(rows) // 4)] if kind.endswith("defaults") else rows
    with tempfile.TemporaryDirectory() as out:
        tokens = RUNS[kind](folder, rows, clock, Path(out))
    cpu, wall = clock.seconds()
    return {"tokens": tokens, "cpu": cpu, "wall": wall}


def ours_sft(folder: Path, rows: list[dict[str, str]], clock: Clock, out: Path, *, batch: int = BATCH) -> float:
    from tutelage.objectives import cross_entropy
    from tutelage.records import Example, Prompt
    from tutelage.train import FitSettings, Fixed
    from tutelage.train.loop import fit

    records = [Example(prompt=Prompt.user(r["prompt"]), completion=r["chosen"]) for r in rows]
    settings = FitSettings(lr=1e-4, batch=batch)
    result = fit(
        model=folder,
        source=Fixed(records),
        objective=cross_entropy(),
        settings=settings,
        seed=0,
        out=out / "m",
        progress=lambda *_: clock.step(),
    )
    return sum(entry["tokens"] for entry in result.log[1:])


def ours_dpo(folder: Path, rows: list[dict[str, str]], clock: Clock, out: Path) -> float:
    from tutelage.objectives import dpo
    from tutelage.records import Pair, Prompt
    from tutelage.train import FitSettings, Fixed, Reference
    from tutelage.train.loop import fit

    class Noted(Reference):
        """Remembers when its models were open and its work began."""

        __slots__ = ("began",)

        def __init__(self) -> None:
            super().__init__()
            self.began: tuple[float, float] | None = None

        def open(self, site: Any) -> Any:
            oracle = super().open(site)
            self.began = (time.process_time(), time.perf_counter())
            return oracle

    records = [Pair(prompt=Prompt.user(r["prompt"]), chosen=r["chosen"], rejected=r["rejected"]) for r in rows]
    settings = FitSettings(lr=1e-5, batch=BATCH)
    reference = Noted()
    result = fit(
        model=folder,
        source=Fixed(records),
        objective=dpo(),
        targets=reference,
        settings=settings,
        seed=0,
        out=out / "m",
        progress=lambda *_: clock.step(),
    )
    # The reference pass and the report before training are ahead of the first step here, and the reference in every step there: charge
    # both to us, without the share of the step that is left out.
    assert clock.first is not None
    assert reference.began is not None
    one = [seconds / (len(result.log) - 1) for seconds in clock.seconds()]
    ahead = [a - b - c for a, b, c in zip(clock.first, reference.began, one, strict=True)]
    share = 1 - 1 / result.steps
    clock.first = (clock.first[0] - ahead[0] * share, clock.first[1] - ahead[1] * share)
    return sum(entry["tokens"] for entry in result.log[1:])


def bare(folder: Path, rows: list[dict[str, str]], clock: Clock, out: Path) -> float:
    """What one would write by hand: one packed row, a block-causal mask, cross-entropy on the completion, AdamW."""
    import torch
    from torch.nn import functional as F
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    parts = [(tokenizer(r["prompt"])["input_ids"], [*tokenizer(r["chosen"])["input_ids"], 2]) for r in rows]
    order = random.Random(0).sample(range(len(rows)), len(rows))
    tokens: list[int] = []
    for start in range(0, len(rows), BATCH):
        window = [parts[i] for i in order[start : start + BATCH]]
        ids = torch.tensor([i for p, c in window for i in (*p, *c)])
        tokens.append(len(ids))
        owner = torch.tensor([k for k, (p, c) in enumerate(window) for _ in range(len(p) + len(c))])
        positions = torch.cat([torch.arange(len(p) + len(c)) for p, c in window])
        charged = torch.tensor([x for p, c in window for x in [False] * len(p) + [True] * len(c)])
        mask = (owner[:, None] == owner[None]) & torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
        logits = model(input_ids=ids[None], position_ids=positions[None], attention_mask=mask[None, None], use_cache=False).logits[0]
        places = charged.nonzero()[:, 0]
        loss = F.cross_entropy(logits[places - 1], ids[places])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        clock.step()
    return sum(tokens[1:])


def trl_run(kind: str, *, batch: int = BATCH, **options: Any) -> Callable[[Path, list[dict[str, str]], Clock, Path], float]:
    def go(folder: Path, rows: list[dict[str, str]], clock: Clock, out: Path) -> float:
        import torch
        import trl
        from datasets import Dataset
        from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

        class Ticking(TrainerCallback):
            def on_step_end(self, *_: Any, **__: Any) -> None:
                clock.step()

        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        config, trainer = (trl.SFTConfig, trl.SFTTrainer) if kind == "sft" else (trl.DPOConfig, trl.DPOTrainer)
        columns = {"prompt": [r["prompt"] for r in rows]}
        columns |= (
            {"completion": [" " + r["chosen"] for r in rows]}
            if kind == "sft"
            else {n: [" " + r[n] for r in rows] for n in ("chosen", "rejected")}
        )
        arguments = config(
            output_dir=str(out),
            per_device_train_batch_size=batch,
            num_train_epochs=1,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            logging_strategy="no",
            **options,
        )
        data = Dataset.from_dict(columns)
        made = trainer(
            model=model, args=arguments, train_dataset=data, processing_class=AutoTokenizer.from_pretrained(folder), callbacks=[Ticking()]
        )
        collate, tokens = made.data_collator, []

        def counted(features: Any) -> Any:
            batch = collate(features)
            real = batch["attention_mask"].sum() if "attention_mask" in batch else batch["input_ids"].numel()
            tokens.append(int(real))
            return batch

        made.data_collator = counted
        made.train()
        return sum(tokens[1 : made.state.global_step])

    return go


PLAIN = {"bf16": False, "gradient_checkpointing": False}
RUNS: dict[str, Callable[[Path, list[dict[str, str]], Clock, Path], float]] = {
    "sft": ours_sft,
    "sft, windows of 48": partial(ours_sft, batch=6 * BATCH),
    "bare packed loop": bare,
    "TRL SFT defaults": trl_run("sft"),
    "TRL SFT fp32": trl_run("sft", **PLAIN),
    "TRL SFT fp32 packed": trl_run("sft", packing=True, max_length=1024, batch=2, **PLAIN),
    "dpo": ours_dpo,
    "TRL DPO defaults": trl_run("dpo"),
    "TRL DPO fp32": trl_run("dpo", **PLAIN),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--examples", type=int, default=128)
    parser.add_argument("--kind", choices=("sft", "dpo"), help="only the runs of this kind")
    parser.add_argument("--worker", nargs=2, metavar=("RUN", "FOLDER"))
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(worker(options.worker[0], Path(options.worker[1]))))
        return 0
    rates: dict[str, float] = {}
    chosen = [n for n in RUNS if options.kind is None or (options.kind == "dpo") == ("dpo" in n.lower())]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, options.examples)
        print(f"{'run':<22} {'tokens/CPU s':>12} {'tokens/wall s':>13}")
        for name in chosen:
            command = [sys.executable, "-W", "ignore", __file__, "--worker", name, str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(
                    f"{name:<22} failed: {done.stderr.strip().splitlines()[-1][:200] if done.stderr.strip() else done.returncode}",
                    flush=True,
                )
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            if not found["cpu"]:
                print(f"{name:<22} took one step only: more --examples", flush=True)
                continue
            rates[name] = found["tokens"] / found["cpu"]
            print(f"{name:<22} {rates[name]:>12.0f} {found['tokens'] / found['wall']:>13.0f}", flush=True)
    ratios = {
        "sft / TRL defaults": ("sft", "TRL SFT defaults"),
        "sft / TRL fp32": ("sft", "TRL SFT fp32"),
        "sft / TRL fp32 packed": ("sft", "TRL SFT fp32 packed"),
        "sft, windows of 48 / TRL fp32 packed": ("sft, windows of 48", "TRL SFT fp32 packed"),
        "sft / bare packed loop": ("sft", "bare packed loop"),
        "dpo / TRL defaults": ("dpo", "TRL DPO defaults"),
        "dpo / TRL fp32": ("dpo", "TRL DPO fp32"),
    }
    missed = 0
    for name, (one, other) in ratios.items():
        if one in rates and other in rates:
            ratio, bar = rates[one] / rates[other], BARS.get(name)
            verdict = "" if bar is None else f" (bar {bar}: {'held' if ratio >= bar else 'missed'})"
            missed += bar is not None and ratio < bar
            print(f"{name}: {ratio:.2f}{verdict}")
    return int(missed > 0 or len(rates) < len(chosen))


if __name__ == "__main__":
    sys.exit(main())
