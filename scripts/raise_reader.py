"""Raise a small decoder that can read and write grade-school word problems: the base of the reward models in `critic-rm:gsm8k`.

    TUTELAGE_DATA=... python scripts/raise_reader.py --out DIR
    TUTELAGE_READER=DIR tutelage reproduce critic-rm:gsm8k

Llama architecture, about 0.4 million parameters, from nothing: tokenizer and weights are made of the training half of GSM8K alone (MIT),
written as `Q: question`, `A: solution`. The marked solutions are of the test half. Training questions that share a run of ten words with
one of its questions (`select.decontaminate`) are passed over, so the reader has seen neither a held-out question nor a solution of one.
One thread; the same seed gives the same weights on the same kind of CPU, and the last line printed is their digest. Not shipped: it takes
a few minutes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tutelage.engine.digest import digest_of, inspect_folder
from tutelage.engine.loading import no_bars
from tutelage.objectives import cross_entropy
from tutelage.records import Example, Prompt
from tutelage.seeds import derive
from tutelage.select.decontaminate import Decontaminator
from tutelage.tasks.published import published_file
from tutelage.train import FitSettings, Fixed
from tutelage.train.loop import fit

ROWS = 4500
VOCABULARY = 1200
WIDTH, LAYERS, HEADS = 96, 3, 4
CONTEXT_TOKENS = 768
QUESTION_WEIGHT = 0.3
"""Of the question's tokens: reading is to be learned too, but writing more."""
SETTINGS = FitSettings(
    lr=0.02, lr_other=3e-3, optimiser="muon", batch=32, epochs=1, schedule="linear", warmup=0.02, micro_tokens=8192, context_tokens=512
)


def texts(limit: int) -> tuple[list[tuple[str, str]], int]:
    """(question, solution) in the form of the marked solutions, the answer in a last line `A: NUMBER`, of the first `limit` training rows
    that give no question of the test half away; and how many rows were passed over because they do."""
    rows, held = _rows("gsm8k/train.jsonl"), Decontaminator([row["question"] for row in _rows("gsm8k/model_solutions.jsonl")])
    found: list[tuple[str, str]] = []
    leaks = held.check([row["question"] for row in rows])
    for place, (row, leak) in enumerate(zip(rows, leaks, strict=True)):
        if len(found) == limit:
            return found, sum(x is not None for x in leaks[:place])
        if leak is None:
            solution, _, answer = row["answer"].rpartition("####")
            found.append((row["question"].strip(), f"{solution.strip()}\nA: {answer.strip()}"))
    return found, sum(x is not None for x in leaks)


def _rows(name: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in published_file("gsm8k-marked", name).read_bytes().splitlines()]


def tokenizer_of(rows: list[tuple[str, str]]) -> transformers.PreTrainedTokenizerFast:
    """Byte-level BPE; digits stand alone, so that a number is copied digit by digit."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<pad>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    raw.train_from_iterator([f"Q: {q}\nA: {a}\n\nCritique: yes ; no => left ?" for q, a in rows], trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="</s>", pad_token="<pad>", clean_up_tokenization_spaces=False
    )


def newborn(tokenizer: transformers.PreTrainedTokenizerFast, folder: Path, seed: int) -> None:
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=256, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=HEADS, max_position_embeddings=CONTEXT_TOKENS, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    config.tutelage = {"dialect": "bbh", "licence": "MIT"}
    torch.manual_seed(seed)
    with no_bars():
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=ROWS, help="how many of the training rows")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, leaks = texts(options.rows)
    examples = []
    for question, solution in rows:
        completion = f" {question}\nA: {solution}"
        spans = ((0, len(question) + 3, QUESTION_WEIGHT),)
        examples.append(Example(prompt=Prompt.user("Q:"), completion=completion, spans=spans))
    began = time.monotonic()

    def shown(done: int, total: int, loss: float) -> None:
        if done % 20 == 0 or done == total:
            print(f"step {done} of {total}, loss {loss:.3f}, {time.monotonic() - began:.0f} s", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch) / "newborn"
        newborn(tokenizer_of(rows), base, derive(options.seed, "reader"))
        result = fit(
            model=base, source=Fixed(examples), objective=cross_entropy(), settings=SETTINGS, seed=options.seed, out=options.out,
            progress=shown,
        )  # fmt: skip
    print(
        f"{options.out}: {len(rows):,} rows, {leaks} passed over as near a held-out question, {result.tokens:,} tokens, "
        f"{dict(result.dropped)}, {digest_of(inspect_folder(options.out))}"
    )


if __name__ == "__main__":
    main()
