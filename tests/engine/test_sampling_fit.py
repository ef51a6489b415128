"""Samples of one prompt, encoded once, are draws of the model: sequences of several tokens against the probabilities of its plain forward
pass, and against transformers' own sampling. Scaled down; `benchmarks/rollouts.py` has the full sizes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from checkpoints import tiny_checkpoint
from tutelage.engine.decode import generate_ids
from tutelage.engine.loading import open_model
from tutelage.measure.chi_square import goodness_of_fit, same_distribution

PROMPT, DEPTH, DRAWS = tuple(range(40, 56)), 3, 3000


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model that is sure enough of itself for sequences to come again."""
    opened: Any = open_model(tiny_checkpoint(tmp_path_factory.mktemp("m"), spread=6.0), device="cpu").module
    opened.generation_config.eos_token_id = None
    return opened


@torch.no_grad()
def likely(module: Any, least: float) -> dict[tuple[int, ...], float]:
    found: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(DEPTH):
        grown: dict[tuple[int, ...], float] = {}
        for start, p in found.items():
            chances = module(torch.tensor([[*PROMPT, *start]])).logits[0, -1].double().softmax(-1)
            for token in torch.nonzero(p * chances >= least).flatten().tolist():
                grown[(*start, token)] = p * float(chances[token])
        found = grown
    return found


def drawn(module: Any, **options: Any) -> Counter[tuple[int, ...]]:
    asked = {"temperature": 1.0, "seed": 4, "samples": DRAWS, **options}
    return Counter(d.ids for d in generate_ids(module, [PROMPT], max_tokens=DEPTH, stop_ids=(), **asked)[0])


def test_samples_have_the_models_distribution_and_transformers_has_the_same(module: Any) -> None:
    chances = likely(module, 5 / DRAWS)
    assert 15 < len(chances) < 400
    assert 0.4 < sum(chances.values()) <= 1.0
    mine = drawn(module)
    assert goodness_of_fit(mine, chances).p_value > 1e-3
    table = torch.tensor([PROMPT])
    with torch.random.fork_rng():
        torch.manual_seed(3)
        out = module.generate(
            input_ids=table, attention_mask=torch.ones_like(table), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
            num_return_sequences=DRAWS, max_new_tokens=DEPTH, pad_token_id=0,
        )  # fmt: skip
    other = Counter(tuple(row) for row in out[:, len(PROMPT) :].tolist())
    assert goodness_of_fit(other, chances).p_value > 1e-3
    assert same_distribution(mine, other).p_value > 1e-3


def test_another_distribution_is_told_apart(module: Any) -> None:
    chances = likely(module, 5 / DRAWS)
    assert goodness_of_fit(drawn(module, temperature=0.8), chances).p_value < 1e-6
    assert same_distribution(drawn(module), drawn(module, temperature=0.8)).p_value < 1e-6
    assert goodness_of_fit(drawn(module, seed=5, samples=DRAWS), chances).p_value > 1e-3
