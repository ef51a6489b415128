"""Tree search on a model whose words are known: values, selection, shared text, and that trees grow in step."""

import random

import pytest

from tutelage import backends
from tutelage.backends.scripted import Script, open_script
from tutelage.capabilities import Sampling
from tutelage.generate.constrained import bent_to
from tutelage.generate.trees import Node, grow_trees
from tutelage.prompts.constrained import NOTED, draw_noted, going_on, noted
from tutelage.records import Message, Prompt
from tutelage.verify.constraints import draw_compatible, holds

PROMPTS = [Prompt.user("one"), Prompt.user("two")]


def _goes_on(prompt, index, seed):
    """Ten words in all, each `good` or `bad` by chance."""
    begun = prompt.messages[-1].content.split() if prompt.messages[-1].role == "assistant" else []
    rng = random.Random(f"{prompt.id} {index} {seed}")
    return " ".join(rng.choice(("good", "bad")) for _ in range(10 - len(begun)))


def share_of_good(_, text):
    return text.split().count("good") / max(1, len(text.split()))


def grown(**changes):
    model = open_script(Script(name="goes on", answer=_goes_on))
    settings = {"width": 3, "depth": 4, "simulations": 6, "segment_tokens": 2, "max_tokens": 20, "between": " ", **changes}

    def draw(name, most, n):
        return Sampling(max_tokens=most, temperature=1.0, n=n, seed=len(name) * 31 + ord(name[-1]))

    return grow_trees(model, PROMPTS, reward=share_of_good, draw=draw, **settings)


def test_values_are_means_of_what_came_of_a_node():
    for root in grown():
        assert root.visits == len(root.finished) == sum(child.visits for child in root.children)
        for node in root.walk():
            assert node.value == pytest.approx(sum(r for _, r in node.finished) / len(node.finished))
            assert all(text.startswith(node.text) for text, _ in node.finished)
            assert all(r == pytest.approx(share_of_good(0, text)) for text, r in node.finished)
            assert all(child.text.startswith(node.text) and child.depth == node.depth + 1 for child in node.children)
            assert len({child.text for child in node.children}) == len(node.children)
            assert node.depth <= 4


def test_search_finds_better_answers_than_it_began_with():
    for root in grown(simulations=12):
        first = [c.finished[0][1] for c in root.children]
        assert max(r for _, r in root.finished) >= max(first)
        assert max(root.children, key=lambda c: c.visits).value == max(c.value for c in root.children)


def test_the_same_streams_give_the_same_trees():
    one, other = ([(n.text, n.visits, n.total) for n in root.walk()] for root in (grown()[0], grown()[0]))
    assert one == other


def test_a_model_that_says_nothing_ends_its_answer():
    model = open_script(Script(name="silent", answer=lambda *_: ""))
    roots = grow_trees(
        model, PROMPTS, reward=share_of_good, draw=lambda name, most, n: Sampling(max_tokens=most, temperature=1.0, n=n, seed=1), width=2,
        depth=2, simulations=3, segment_tokens=2, max_tokens=4,
    )  # fmt: skip
    assert [(r.children, r.done, r.visits) for r in roots] == [([], True, 0)] * 2
    assert Node("").value == 0.0


def test_an_answer_that_was_begun_is_gone_on_with_by_the_same_ids_as_in_training():
    model = backends.open_backend(backends.resolve("bundled:student"))
    rendering = model.model.rendering
    prompt = Prompt.user("Q : last digit of sum Mon 8 Tue 3 Wed 5 ?\nA :")
    begun = going_on(prompt, "Mon 8 8 ; Tue 3 1")
    assert begun.messages[-1] == Message(role="assistant", content="Mon 8 8 ; Tue 3 1")
    whole = rendering.prompt_ids(prompt) + rendering.completion_ids("Mon 8 8 ; Tue 3 1 ; Wed 5 6 => 6")
    ids = rendering.prompt_ids(begun)
    assert whole[: len(ids)] == ids
    assert rendering.many_prompt_ids([prompt, begun]) == [rendering.prompt_ids(prompt), ids]
    assert going_on(prompt, "") is prompt
    said = model.generate([begun], Sampling(max_tokens=8))[0][0].text
    assert said.split()[:3] == [";", "Wed", "5"]


@pytest.mark.parametrize("seed", range(20))
def test_solutions_are_bent_to_what_is_asked(seed):
    rng = random.Random(seed)
    bases = ["=> 6", "say 6 ; Mon 8 ; Tue 3 ; Wed 5 => 6", "Mon 8 8 ; Tue 3 1 ; Wed 5 6 => 6"]
    wanted = [draw_noted(rng, c["name"]) for c in draw_compatible(rng, 3, names=NOTED)]
    for one in wanted:
        assert noted(one).split()[0] in ("all", "no", "count", "min", "big", "low", "newest")
        text = bent_to(bases, [one], chance=1.0, rng=rng)
        assert text.endswith("=> 6")
        assert holds(text, one), (one, text)
    loose = [bent_to(bases, wanted, chance=0.0, rng=rng) for _ in range(5)]
    assert set(loose) <= set(bases)
