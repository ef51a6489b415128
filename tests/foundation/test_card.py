from dataclasses import FrozenInstanceError

import pytest

from tutelage.capabilities import ModelFacts, Sampling, TokenScores
from tutelage.card import Arm, Card, Claim
from tutelage.errors import SettingsError


def card(**changes):
    given = dict(
        title="T", claim="C", source="S", family="f", kind="system", needs={}, steps=("a",), size="n", arm="main", baseline="plain"
    )
    return Card(**{**given, **changes})


def test_a_card_is_frozen_and_its_optional_parts_are_empty():
    held = card()
    assert (held.control, held.claims, held.deviations, held.version, held.demo_arms) == (None, (), (), 1, ())
    with pytest.raises(FrozenInstanceError):
        held.title = "other"


def test_arms_do_not_share_their_changes():
    first, second = Arm(summary="a"), Arm(summary="b")
    assert first.changes == {} == second.changes
    assert first.changes is not second.changes
    assert first.needs is None, "None takes the card's needs; an empty mapping would need nothing"


def test_a_claim_without_arms_is_shown_and_not_tested():
    assert Claim(what="w", published="1", where="Table 1").arms is None


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 8, "temperature": -0.1}, "temperature"),
        ({"max_tokens": 8, "top_p": 0.0}, "top_p"),
        ({"max_tokens": 8, "top_p": 1.5}, "top_p"),
        ({"max_tokens": 8, "n": 0}, "n must"),
        ({"max_tokens": 8, "n": 2}, "temperature 0"),
    ],
)
def test_sampling_that_makes_no_sense_is_refused(given, word):
    with pytest.raises(SettingsError, match=word):
        Sampling(**given)


def test_sampling_that_makes_sense_is_kept_as_given():
    sampling = Sampling(max_tokens=1, temperature=0.0, n=1, seed=0)
    assert (sampling.seed, sampling.temperature) == (0, 0.0)
    assert Sampling(max_tokens=8, temperature=0.5, n=3).n == 3


def test_scores_of_a_completion_in_nats():
    scores = TokenScores(logprobs=(-1.0, -3.0))
    assert (scores.total_nats, scores.mean_nats) == (-4.0, -2.0)
    assert TokenScores(logprobs=()).mean_nats == 0.0


def test_facts_claim_nothing_by_themselves():
    facts = ModelFacts(capabilities=frozenset())
    assert (facts.parameters, facts.context_tokens, facts.chat_template, facts.licence) == (None, None, False, "unknown")
