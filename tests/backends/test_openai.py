"""What an endpoint is asked, and what is read from its replies."""

import gc
import http.server
import itertools
import json
import os
import threading
import warnings
import weakref

import pytest

from servers.endpoints import DRAWN, GREEDY, QUICK, Place, questions, ref_of
from servers.running import Stub
from servers.stub import logprob, token_id, tokens_of
from tutelage.backends.address import Address
from tutelage.backends.openai import OpenAIBackend, facts_of
from tutelage.capabilities import Sampling
from tutelage.errors import CapabilityError, SettingsError
from tutelage.records import Message, Prompt


@pytest.fixture(scope="module")
def stub():
    with Stub() as running:
        yield running


@pytest.fixture
def backend(stub):
    made = []

    def make(**options):
        name = stub.name()
        made.append(OpenAIBackend(ref_of(name), **(QUICK | options)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_answers_come_in_order_and_depend_on_the_question_only(stub, tmp_path):
    asked = questions(40)
    with Place(tmp_path / "one", stub.name()) as place:
        said = place.role.generate(asked, DRAWN)
        assert [len(row) for row in said] == [3] * 40
        assert len({c.text for row in said for c in row}) == 120
        assert said[0][0].prompt_tokens == 5
        assert said[0][0].completion_tokens == len(tokens_of(said[0][0].text)) == 8
    with Place(tmp_path / "two", stub.name()) as place:
        assert place.role.generate(asked[::-1], DRAWN) == said[::-1]
    with Place(tmp_path / "three", stub.name()) as place:
        assert place.role.generate(asked[:5], Sampling(max_tokens=12, temperature=1.0, n=3, seed=4)) != said[:5]


def test_a_second_run_asks_nothing_and_one_more_row_asks_for_one_row(stub, tmp_path):
    stub.reset()
    with Place(tmp_path, stub.name()) as place:
        said = place.role.generate(questions(30), GREEDY)
        assert place.ledger.physical().calls == stub.bill()["delivered"] == 30
        assert place.ledger.physical().tokens == stub.bill()["delivered_tokens"]
    with Place(tmp_path, stub.name()) as place:
        assert place.role.generate(questions(30), GREEDY) == said
        assert not place.role.opened
        assert place.role.generate(questions(31), GREEDY)[:30] == said
        assert place.ledger.physical().calls == 31
        assert place.ledger.logical().calls == 61
    assert stub.bill()["requests"] == 31


def test_equal_questions_are_asked_once(stub, tmp_path):
    stub.reset()
    with Place(tmp_path, stub.name()) as place:
        said = place.role.generate(questions(3) * 4, GREEDY)
    assert said == said[:3] * 4
    assert stub.bill()["requests"] == 3


def test_progress_ends_at_the_whole(stub, tmp_path):
    seen = []
    with Place(tmp_path, stub.name(), progress=lambda done, total: seen.append((done, total))) as place:
        place.role.generate(questions(3) * 2, DRAWN)
    assert seen[-1] == (18, 18)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_stream_of_any_length_comes_in_order(stub, tmp_path):
    with Place(tmp_path, stub.name()) as place:
        place.role._chunk = 2
        said = list(place.role.stream(iter(questions(70)), GREEDY))
        assert said == place.role.generate(questions(70), GREEDY)


def test_samples_of_one_prompt_can_share_a_request(stub, tmp_path):
    stub.reset()
    four = Sampling(max_tokens=12, temperature=1.0, n=4, seed=3)
    with Place(tmp_path, stub.name(), samples=4) as place:
        said = place.role.generate(questions(5), four)
        bill = stub.bill()
        assert bill["requests"] == 5
        assert place.ledger.physical().calls == bill["delivered"] == 20
        assert place.ledger.physical().tokens == bill["delivered_tokens"]
        assert place.ledger.logical().completion_tokens == place.ledger.physical().completion_tokens
        assert place.ledger.logical().prompt_tokens == 4 * place.ledger.physical().prompt_tokens
        assert len({c.text for row in said for c in row}) == 20


def test_a_server_that_gives_fewer_samples_is_asked_for_the_rest(stub, tmp_path):
    stub.reset()
    with Place(tmp_path, stub.name(), samples=3) as place:
        said = place.role.generate([Prompt.user("[[fewer]] please")], DRAWN)
    assert len({c.text for c in said[0]}) == 3
    assert stub.bill()["requests"] == 3


def test_reasoning_stays_apart_from_the_answer(backend):
    plain, hidden, tags, parts = (
        backend().generate([Prompt.user(text)], GREEDY)[0][0] for text in ("x", "[[think]] x", "[[tags]] x", "[[parts]] x")
    )
    assert plain.reasoning is None
    assert (hidden.reasoning, hidden.text.count(" ")) == ("first this, then that", 7)
    assert tags.reasoning == "first this"
    assert "<" not in tags.text
    assert tags.text.count(" ") == 7
    assert parts.text.count(" ") == 7


def test_refusals_are_data_and_counted(backend):
    said = [row[0] for row in backend().generate([Prompt.user(t) for t in ("[[refuse]]", "[[filtered]]", "[[filter]]", "fine")], GREEDY)]
    assert [c.finish for c in said] == ["refusal", "refusal", "refusal", "stop"]
    assert said[0].text == "I would rather not."
    assert said[0].error is None
    assert "filter" in str(said[2].error)


def test_stops_are_cut_off_even_where_the_server_leaves_them(backend):
    said = backend().generate([Prompt.user("[[stop]]")], Sampling(max_tokens=12, stop=("STOP",)))[0][0]
    assert (said.text, said.finish) == ("before ", "stop")


def test_logprobs_come_along_where_asked(backend):
    asked = Sampling(max_tokens=12, logprobs=True)
    for api in ("chat", "completions"):
        said = backend(api=api).generate([Prompt.user("x")], asked)[0][0]
        assert said.logprobs == tuple(logprob(None, token_id(t)) for t in tokens_of(said.text))
    assert backend().generate([Prompt.user("x")], GREEDY)[0][0].logprobs is None


def test_plain_completions(backend):
    said = backend(api="completions").generate(questions(2), DRAWN)
    assert len({c.text for row in said for c in row}) == 6
    assert said[0][0].finish == "length"
    with pytest.raises(CapabilityError, match="structured"):
        backend(api="completions").generate(questions(1), Sampling(max_tokens=5, schema="{}"))


def test_scores_by_token_ids_and_by_echo_agree_with_the_model(stub, tmp_path):
    prompt, text = Prompt.user("the cat sat"), " on the mat"
    ids = [token_id(t) for t in tokens_of(prompt.text + text)]
    right = tuple(logprob(before, token) for before, token in itertools.pairwise(ids[2:]))
    for score in ("ids", "echo"):
        with Place(tmp_path / score, stub.name(), score=score, api="completions") as place:
            found = place.role.score([prompt, prompt], [text, " on"])
            assert found[0].logprobs == right
            assert found[0].prompt_tokens == 3
            assert found[1].logprobs == right[:1]
            assert place.ledger.physical().calls == 2
    with Place(tmp_path / "chat", stub.name(), score="ids") as place:
        chat = place.role.score([prompt], [text])[0]
        assert len(chat.logprobs) == 3
        assert chat.prompt_tokens == len(tokens_of("<user> the cat sat <assistant>"))


def test_scores_say_what_is_missing(stub, tmp_path):
    assert "score" not in facts_of(Address.parse(stub.name())).capabilities
    assert "score" in facts_of(Address.parse(stub.name(score="ids"))).capabilities
    with Place(tmp_path, stub.name()) as place, pytest.raises(CapabilityError, match=r"\?score=ids"):
        place.role.score(questions(1), ["x"])
    with Stub(tokenizer=False, echo=False) as poor:
        with Place(tmp_path, poor.name(), score="ids") as place, pytest.raises(CapabilityError, match="has no /tokenize"):
            place.role.score(questions(1), ["x"])
        with (
            Place(tmp_path, poor.name(), score="echo", api="completions") as place,
            pytest.raises(CapabilityError, match="without log-prob"),
        ):
            place.role.score(questions(1), ["x"])


def test_embeddings_keep_the_order_of_the_texts(stub, tmp_path):
    stub.reset()
    with Place(tmp_path, stub.name(), texts=4) as place:
        vectors = place.role.embed([f"text {n}" for n in range(10)])
        assert stub.bill()["requests"] == 3
        assert place.ledger.physical().calls == 10
        assert place.ledger.logical().prompt_tokens == place.ledger.physical().prompt_tokens == 20
        assert place.role.embed(["text 7"]) == [vectors[7]]
    assert len(set(vectors)) == 10
    assert stub.bill()["requests"] == 3


SEVEN = json.dumps({"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"], "additionalProperties": False})


def test_structured_answers_are_mended_a_bounded_number_of_times_and_then_data(stub, tmp_path):
    stub.reset()
    with Place(tmp_path, stub.name(), repairs=2) as place:
        asked = [Prompt.user(f"[[json {turns}]]") for turns in (0, 1, 2, 9)]
        said = [row[0] for row in place.role.generate(asked, Sampling(max_tokens=12, schema=SEVEN))]
        assert [c.error is None for c in said] == [True, True, True, False]
        assert [c.text for c in said] == ['{"answer": 7}'] * 3 + ['{"answer": "seven"}']
        assert said[3].finish == "error"
        assert "answer.answer must be of type integer" in str(said[3].error)
        assert stub.bill()["requests"] == 1 + 2 + 3 + 3
        assert place.ledger.physical().tokens == stub.bill()["delivered_tokens"]
        assert place.ledger.logical().tokens == place.ledger.physical().tokens
        assert place.ledger.logical().calls == 4
        assert place.role.generate(asked, Sampling(max_tokens=12, schema=SEVEN))[3][0] == said[3]
    assert stub.bill()["requests"] == 9


def test_a_schema_that_cannot_be_judged_is_refused_before_anything_is_sent(stub, tmp_path):
    stub.reset()
    with Place(tmp_path, stub.name()) as place, pytest.raises(SettingsError, match="unevaluatedProperties"):
        place.role.generate(questions(1), Sampling(max_tokens=5, schema='{"unevaluatedProperties": false}'))
    assert stub.bill()["requests"] == 0


def test_cached_and_reasoning_tokens_are_accounted_apart(tmp_path):
    with Stub(cached_tokens=2) as stub, Place(tmp_path, stub.name()) as place:
        place.role.generate(questions(4), GREEDY)
        physical = place.ledger.physical()
    assert (physical.cached_prompt_tokens, physical.reasoning_tokens, physical.prompt_tokens) == (8, 8, 20)


def test_system_turns_and_the_models_own_name_for_the_limit_are_sent(tmp_path):
    seen = []

    class Recorder(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append((self.path, self.headers.get("Authorization"), json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            body = json.dumps({"choices": [{"message": {"content": "ok"}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        prompt = Prompt(messages=(Message(role="system", content="be brief"), Message(role="user", content="hi")))
        backend = OpenAIBackend(ref_of(f"openai:m@{url}?limit_field=max_completion_tokens&effort=low"), extra={"top_k": 5})
        backend.generate([prompt], Sampling(max_tokens=7, temperature=0.5, top_p=0.9, seed=1, stop=("\n",)))
        backend.close()
        server.shutdown()
    path, authorization, body = seen[0]
    seed = body.pop("seed")
    assert 0 <= seed < 2**31
    assert path == "/v1/chat/completions"
    assert authorization is None
    assert body == {
        "model": "m", "max_completion_tokens": 7, "temperature": 0.5, "top_p": 0.9, "stop": ["\n"], "reasoning_effort": "low", "top_k": 5,
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
    }  # fmt: skip


def test_proxies_of_the_environment_are_not_used_for_this_machine(stub, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with Place(tmp_path, stub.name()) as place:
        assert place.role.generate(questions(1), GREEDY)[0][0].error is None
    assert os.environ["http_proxy"]


def test_a_back_end_that_is_forgotten_leaves_nothing_behind(stub):
    def use():
        backend = OpenAIBackend(ref_of(stub.name()), **QUICK)
        assert backend.generate(questions(3), GREEDY)
        return weakref.ref(backend)

    before = {t.name for t in threading.enumerate()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gone = use()
        gc.collect()
    assert gone() is None
    assert {t.name for t in threading.enumerate()} == before
    assert [str(w.message) for w in caught] == []


def test_a_closed_back_end_can_be_used_again(backend):
    one = backend()
    first = one.generate(questions(2), GREEDY)
    one.close()
    one.close()
    assert one.generate(questions(2), GREEDY) == first
    assert one.models() == ["stub-model", "other-model"]
