"""The role wrapper in front of a back end of this process: what is asked again, what is counted, what is refused."""

import hashlib
import math

import pytest

from tutelage.backends.wrappers import Cached
from tutelage.capabilities import Completion, Sampling, TokenScores
from tutelage.errors import BudgetExhausted, CapabilityError, InternalError
from tutelage.journal.amounts import NOTHING, Budget
from tutelage.journal.cache import CallCache
from tutelage.journal.ledger import Ledger
from tutelage.records import Message, ModelRef, Prompt

REF = ModelRef(name="echo", digest="d1")
GREEDY = Sampling(max_tokens=8)
DRAWN = Sampling(max_tokens=8, temperature=1.0, n=3, seed=5)


class Echo:
    """A deterministic back end that remembers what it was asked; a text that starts with `!` fails the whole call."""

    def __init__(self) -> None:
        self.generated: list[int] = []
        self.scored: list[int] = []
        self.embedded: list[int] = []
        self.closed = False

    def generate(self, prompts, sampling):
        self.generated.append(len(prompts))
        if any(p.text.startswith("!") for p in prompts):
            raise RuntimeError("broken")
        return [[self._completion(p, sampling, i) for i in range(sampling.n)] for p in prompts]

    def _completion(self, prompt, sampling, index):
        seed = sampling.seed if sampling.temperature > 0 else None
        text = hashlib.sha256(f"{prompt.text}|{seed}|{index}".encode()).hexdigest()[:8]
        return Completion(
            text=text, prompt_tokens=len(prompt.text), completion_tokens=8, logprobs=(-0.1, -math.inf) if sampling.logprobs else None
        )

    def score(self, prompts, completions):
        self.scored.append(len(prompts))
        return [TokenScores(logprobs=(-1.5, -math.inf), prompt_tokens=len(p.text)) for p in prompts]

    def embed(self, texts):
        self.embedded.append(len(texts))
        return [(float(len(t)), 0.1) for t in texts]

    def close(self):
        self.closed = True


class Workplace:
    def __init__(self, path, *, budget=None, ref=REF, chunk=4, arm="a", options=None, progress=None):
        self.echo = Echo()
        self.opened = 0
        self.cache = CallCache(path / "cache.sqlite")
        self.ledger = Ledger(path / "ledger.sqlite", budget=budget)
        self.role = Cached(
            self._open, ref, cache=self.cache, ledger=self.ledger, role="teacher", arm=arm, chunk=chunk, options=options, progress=progress
        )

    def _open(self):
        self.opened += 1
        return self.echo

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ledger.close()
        self.cache.close()


def prompts(*texts: str) -> list[Prompt]:
    return [Prompt.user(t) for t in texts]


def test_a_second_run_opens_nothing_and_says_the_same(tmp_path):
    asked = prompts(*"abcdefghij")
    with Workplace(tmp_path) as first:
        texts = first.role.generate(asked, DRAWN)
        scores = first.role.score(asked, ["x"] * 10)
        vectors = first.role.embed(["u", "vv"])
        assert first.opened == 1
        assert texts == first.echo.generate(asked, DRAWN)
        assert first.ledger.physical().calls == first.ledger.logical().calls == 30 + 10 + 2
    with Workplace(tmp_path) as second:
        assert second.role.generate(asked, DRAWN) == texts
        assert second.role.score(asked, ["x"] * 10) == scores
        assert second.role.embed(["u", "vv"]) == vectors
        assert not second.role.opened
        assert second.ledger.logical().calls == 42
        assert second.ledger.physical().calls == 42
    assert scores[0].logprobs == (-1.5, -math.inf)


def test_every_field_of_a_completion_survives(tmp_path):
    full = Completion(
        text="täxt\n", finish="length", prompt_tokens=3, completion_tokens=4, logprobs=(-0.25, -math.inf), reasoning="because", error="half"
    )

    class One:
        def generate(self, prompts, sampling):
            return [[full] for _ in prompts]

    for _ in range(2):
        with CallCache(tmp_path / "c.sqlite") as cache:
            role = Cached(One, REF, cache=cache, ledger=Ledger(None), role="teacher")
            assert role.generate(prompts("q"), GREEDY) == [[full]]


def test_chunks_are_cut_before_the_cache_is_looked_at_and_computed_whole(tmp_path):
    with Workplace(tmp_path) as place:
        place.role.generate(prompts("f"), GREEDY)
        place.role.generate(prompts(*"abcdefghij"), GREEDY)
        assert place.echo.generated == [1, 4, 4, 2]
        place.role.generate(prompts(*"abcdXYZf"), GREEDY)
        assert place.echo.generated == [1, 4, 4, 2, 4]


def test_a_failing_chunk_keeps_what_was_committed_and_costs_nothing(tmp_path):
    asked = prompts(*"abcd", "!", *"efg")
    with Workplace(tmp_path) as place:
        with pytest.raises(RuntimeError):
            place.role.generate(asked, GREEDY)
        assert place.ledger.physical().calls == 4
        assert place.ledger.in_doubt() == NOTHING
        assert place.ledger.charged().calls == 4
        assert len(place.cache) == 4
    with Workplace(tmp_path) as place:
        place.role.generate(prompts(*"abcd"), GREEDY)
        assert not place.role.opened


def test_an_answer_that_is_there_stays_though_its_chunk_is_computed_again(tmp_path):
    class Moody(Echo):
        def _completion(self, prompt, sampling, index):
            return Completion(text=f"mood {len(self.generated)}", completion_tokens=1)

    with CallCache(tmp_path / "c.sqlite") as cache:
        role = Cached(Moody, REF, cache=cache, ledger=Ledger(None), role="teacher", chunk=2)
        assert role.generate(prompts("b"), GREEDY)[0][0].text == "mood 1"
        first = [row[0].text for row in role.generate(prompts("a", "b"), GREEDY)]
        assert first == ["mood 2", "mood 1"]
        assert [row[0].text for row in role.generate(prompts("a", "b"), GREEDY)] == first


@pytest.mark.parametrize(
    "change",
    [
        {"sampling": Sampling(max_tokens=9, temperature=1.0, n=3, seed=5)},
        {"sampling": Sampling(max_tokens=8, temperature=0.9, n=3, seed=5)},
        {"sampling": Sampling(max_tokens=8, temperature=1.0, n=3, seed=6)},
        {"sampling": Sampling(max_tokens=8, temperature=1.0, n=3, seed=5, top_p=0.9)},
        {"sampling": Sampling(max_tokens=8, temperature=1.0, n=3, seed=5, stop=("x",))},
        {"sampling": Sampling(max_tokens=8, temperature=1.0, n=3, seed=5, logprobs=True)},
        {"prompt": Prompt(messages=(Message(role="system", content="q"),))},
        {"prompt": Prompt.user("q", system="be brief")},
        {"prompt": Prompt(messages=(Message(role="user", content="q"), Message(role="user", content="")))},
        {"ref": ModelRef(name="echo", digest="d2")},
        {"options": {"effort": "low"}},
    ],
)
def test_whatever_could_change_an_answer_asks_again(tmp_path, change):
    with Workplace(tmp_path) as place:
        place.role.generate(prompts("q"), DRAWN)
    with Workplace(tmp_path, ref=change.get("ref", REF), options=change.get("options")) as place:
        place.role.generate([change.get("prompt", Prompt.user("q"))], change.get("sampling", DRAWN))
        assert place.echo.generated == [1]


def test_what_cannot_change_an_answer_does_not_ask_again(tmp_path):
    with Workplace(tmp_path) as place:
        place.role.generate(prompts("q"), DRAWN)
        place.role.generate(prompts("g"), Sampling(max_tokens=8, seed=1))
    with Workplace(tmp_path, arm="other", ref=ModelRef(name="renamed", digest="d1", path="/elsewhere"), chunk=100) as place:
        fewer = Sampling(max_tokens=8, temperature=1.0, n=2, seed=5)
        assert len(place.role.generate([Prompt.user("q", kind="solve.plain")], fewer)[0]) == 2
        place.role.generate(prompts("g"), Sampling(max_tokens=8, seed=2, top_p=0.5))
        assert not place.role.opened


def test_budget_stops_before_the_chunk_and_a_larger_one_continues(tmp_path):
    asked = prompts(*"abcdefghij")
    with Workplace(tmp_path, budget=Budget(calls=9)) as place:
        with pytest.raises(BudgetExhausted, match=r"2 of 10 answers missing"):
            place.role.generate(asked, GREEDY)
        assert place.ledger.charged().calls == 8
    with Workplace(tmp_path, budget=Budget(calls=10)) as place:
        place.role.generate(asked, GREEDY)
        assert place.echo.generated == [2]
        assert place.ledger.charged().calls == 10
    with Workplace(tmp_path, budget=Budget(calls=0)) as place:
        place.role.generate(asked, GREEDY)
        assert not place.role.opened


def test_progress_counts_answers_to_the_end(tmp_path):
    seen = []
    for _ in range(2):
        with Workplace(tmp_path, progress=lambda done, total: seen.append((done, total))) as place:
            place.role.generate(prompts(*"abcdef"), DRAWN)
    assert seen == [(12, 18), (18, 18), (18, 18)]


def test_a_model_that_cannot_is_named(tmp_path):
    with CallCache(tmp_path / "c.sqlite") as cache:
        role = Cached(object, REF, cache=cache, ledger=Ledger(None), role="judge")
        for ask in (lambda: role.generate(prompts("q"), GREEDY), lambda: role.score(prompts("q"), ["x"]), lambda: role.embed(["x"])):
            with pytest.raises(CapabilityError, match="role 'judge' must"):
                ask()
        assert len(cache) == 0


def test_a_back_end_that_returns_too_little_is_our_fault(tmp_path):
    class Short(Echo):
        def embed(self, texts):
            return []

    with CallCache(tmp_path / "c.sqlite") as cache:
        role = Cached(Short, REF, cache=cache, ledger=Ledger(None), role="teacher")
        with pytest.raises(InternalError, match="0 for 1"):
            role.embed(["x"])


def test_closing_closes_what_was_opened(tmp_path):
    with Workplace(tmp_path) as place:
        place.role.close()
        assert not place.echo.closed
        place.role.embed(["x"])
        place.role.close()
        assert place.echo.closed


def test_empty_requests_ask_nothing(tmp_path):
    with Workplace(tmp_path) as place:
        assert place.role.generate([], GREEDY) == []
        assert place.role.score([], []) == []
        assert place.role.embed([]) == []
        assert not place.role.opened


def test_the_cache_verifies_its_own_rows(tmp_path):
    with Workplace(tmp_path) as place:
        place.role.generate(prompts(*"ab"), DRAWN)
        place.role.score(prompts("ü"), ["x"])
        assert place.cache.verify() == []
        assert place.cache.stats().by_kind == {"generate": 6, "score": 1}
        assert place.cache.stats().by_model == {"echo": 7}
