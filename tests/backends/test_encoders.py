import importlib.util
from pathlib import Path

import pytest

from tutelage import backends
from tutelage.backends.encoders import SHIPPED, Shipped, encoder_folder
from tutelage.errors import DataError, MissingExtra, SettingsError

there = importlib.util.find_spec(SHIPPED["minilm"].module) is not None
needs_encoder = pytest.mark.skipif(not there, reason="the extra 'encoder' is not installed")


@pytest.fixture
def shelf():
    """More encoders than ship, taken away again."""
    before = dict(SHIPPED)
    yield SHIPPED
    SHIPPED.clear()
    SHIPPED.update(before)


def test_a_missing_package_names_its_extra(shelf):
    shelf["lost"] = Shipped(package="lost-encoder==1", module="no_such_package_anywhere", folder="model", digest="b2-0")
    with pytest.raises(MissingExtra, match=r"tutelage\[encoder\]"):
        backends.resolve("encoder:lost")


def test_an_unknown_encoder_names_the_known_ones():
    with pytest.raises(SettingsError, match="minilm"):
        backends.resolve("encoder:minilmm")


@needs_encoder
def test_a_package_with_other_contents_is_refused(shelf):
    shipped = shelf["minilm"]
    shelf["minilm"] = Shipped(package=shipped.package, module=shipped.module, folder=shipped.folder, digest="b2-0")
    with pytest.raises(DataError, match="another model"):
        encoder_folder("minilm")


@needs_encoder
def test_the_shipped_encoder_puts_like_requests_close_together():
    ref = backends.resolve("encoder:minilm")
    facts = backends.facts(ref)
    assert (facts.capabilities, facts.licence, facts.parameters) == ({"embed", "train"}, "apache-2.0", 22_713_728)
    one, like, other = backends.open_backend(ref).embed(
        ["please move 100 dollars to my savings", "transfer $100 into my savings account", "what is the capital of peru"]
    )
    assert len(one) == 384

    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b)) / (sum(x * x for x in a) * sum(x * x for x in b)) ** 0.5

    assert cosine(one, like) > 0.7 > 0.3 > cosine(one, other)


@needs_encoder
def test_the_first_layers_are_an_encoder_of_their_own_whose_pooler_gives_the_mean(workspace):
    import torch

    whole, first = backends.resolve("encoder:minilm"), backends.resolve("encoder:minilm-l2")
    assert len({first.id, whole.id, backends.resolve("encoder:minilm-mean").id}) == 3
    assert backends.resolve("encoder:minilm-l2") == first, "written once"
    assert workspace in Path(first.path or "").parents
    facts = backends.facts(first)
    assert (facts.capabilities, facts.licence, facts.parameters) == ({"embed", "train"}, "apache-2.0", 22_713_728 - 3 * 1_774_464)
    opened = [backends.open_backend(ref)._opened for ref in (whole, first)]
    text = ["please move 100 dollars to my savings"]
    ids = opened[0].rendering.text_ids(text, None)
    assert opened[1].rendering.text_ids(text, None) == ids
    with torch.no_grad():
        said = [o.module(input_ids=torch.tensor(ids), output_hidden_states=True) for o in opened]
    states = [s.hidden_states for s in said]
    assert len(states[1]) == 4
    torch.testing.assert_close(states[0][2], states[1][2])
    mean, pooled = states[1][2].mean(1), said[1].pooler_output.clamp(-0.9999, 0.9999).atanh()
    assert torch.nn.functional.cosine_similarity(mean - mean.mean(), pooled, dim=-1).item() > 0.95
    # Queries and keys are 0: padding is still not seen.
    padded = torch.tensor([[*ids[0], 0, 0, 0]])
    with torch.no_grad():
        again = opened[1].module(input_ids=padded, attention_mask=(padded != 0).long()).pooler_output
    torch.testing.assert_close(again, said[1].pooler_output)
