"""The shorter way through a Llama model against the module itself."""

import pytest
import torch
from torch import nn

from checkpoints import tiny_checkpoint
from tutelage.engine import llama
from tutelage.engine.attention import Encoding, blocks_of
from tutelage.engine.decode import generate_ids
from tutelage.engine.llama import passes_of
from tutelage.engine.loading import open_model
from tutelage.engine.shared import SharedModule, prefix_sharing
from tutelage.engine.tree import plan_tree

TOP = 300


@pytest.fixture
def module(tmp_path):
    return open_model(tiny_checkpoint(tmp_path, "llama", spread=1.0), device="cpu").module


def prompts(rows):
    front = tuple((11 * i + 5) % TOP for i in range(40))
    return [front * (r % 2) + tuple((7 * r + 3 * i) % TOP for i in range(5 + r % 4)) for r in range(rows)]


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 9, 70])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_steps_are_those_of_the_module_to_the_last_bit(module, rows, dtype):
    module.to(dtype)
    requests = prompts(rows)
    with prefix_sharing(module):
        shared = SharedModule(module)
        for numbers, logits, live in shared.branches(plan_tree(requests), requests, samples=1, room=8):
            positions = torch.tensor([len(requests[i]) for i in numbers])
            for step in range(4):
                tokens = logits.argmax(-1)
                expected = shared._module_logits(tokens, positions + step, live._stepping, wanted=None)
                logits = live.feed(tokens, positions + step)
                assert torch.equal(logits, expected)
                assert logits.isfinite().all()
    assert llama._TRUE[module]


@torch.no_grad()
@pytest.mark.parametrize("wanted", [None, [0, 3, 4, 11], [11]])
def test_whole_passes_give_the_logits_that_are_wanted(module, wanted):
    ids, positions = torch.arange(12) * 5, torch.tensor([*range(5), *range(7)])
    chosen = None if wanted is None else torch.tensor(wanted)
    with prefix_sharing(module):
        blocks = blocks_of([5, 7], None, None, ids.device)
        ours = SharedModule(module).forward(ids, positions, Encoding(blocks), wanted=chosen)
        theirs = SharedModule(module)._module_logits(ids, positions, Encoding(blocks), wanted=chosen)
    assert ours.shape == (12 if wanted is None else len(wanted), module.config.vocab_size)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_weights_are_read_anew_for_every_call(module):
    before = generate_ids(module, prompts(6), max_tokens=6, stop_ids=[], vocabulary=TOP)
    for _, weight in sorted(module.named_parameters()):
        weight.data = weight.data.flip(0)
    after = generate_ids(module, prompts(6), max_tokens=6, stop_ids=[], vocabulary=TOP)
    assert after != before
    assert after == generate_ids(module, prompts(6), max_tokens=6, stop_ids=[], vocabulary=TOP, share=False)


def test_anything_but_a_plain_llama_goes_through_the_module(module, tmp_path):
    assert passes_of(module) is not None
    assert passes_of(open_model(tiny_checkpoint(tmp_path / "other", "qwen3", spread=1.0), device="cpu").module) is None
    watch = module.model.layers[1].mlp.register_forward_hook(lambda *_: None)
    assert passes_of(module) is None
    watch.remove()
    own = module.model.layers[0].self_attn.forward
    module.model.layers[0].self_attn.forward = own
    assert passes_of(module) is None
    del module.model.layers[0].self_attn.forward

    class Doubling(nn.Linear):
        def forward(self, input):
            return 2 * super().forward(input)

    old = module.model.layers[0].self_attn.q_proj
    module.model.layers[0].self_attn.q_proj = Doubling(old.in_features, old.out_features, bias=False)
    assert passes_of(module) is None


def test_a_first_step_that_differs_ends_the_shorter_way(module):
    """As it would if transformers changed its arithmetic."""
    expected = generate_ids(module, prompts(5), max_tokens=5, stop_ids=[], vocabulary=TOP)
    passes = passes_of(module)
    assert passes is not None
    assert passes.tried
    assert not passes.holds(torch.tensor([1.0]), torch.tensor([1.0 + 2**-23]))
    assert passes_of(module) is None
    assert generate_ids(module, prompts(5), max_tokens=5, stop_ids=[], vocabulary=TOP) == expected
