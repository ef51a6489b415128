"""What an endpoint is asked, what is read from its replies, and what it says when something is wrong."""

import dataclasses
import gc
import http.server
import itertools
import json
import os
import re
import socket
import subprocess
import threading
import warnings
import weakref
from pathlib import Path

import pytest

from servers.endpoints import DRAWN, GREEDY, QUICK, Place, questions, ref_of
from servers.running import Stub
from servers.stub import logprob, token_id, tokens_of
from tutelage.backends.address import Address, key_of
from tutelage.backends.openai import OpenAIBackend, facts_of
from tutelage.capabilities import Sampling
from tutelage.errors import CapabilityError, EndpointError, SettingsError, TutelageError
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


# Bad input: each failure names what, the value, and the way out


def failing(tmp_path, name, *, count=3, **options):
    with Place(tmp_path, name, **options) as place:
        with pytest.raises(TutelageError) as caught:
            place.role.generate(questions(count), GREEDY)
        assert len(place.cache) == 0
        assert place.ledger.charged().calls == place.ledger.in_doubt().calls
        return caught.value


def test_a_wrong_key_is_named_and_not_tried_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTELAGE_API_KEY", "sk-wrong-0123456789")
    with Stub(key="right") as stub:
        error = failing(tmp_path, stub.name(), start=1, concurrency=1)
        assert stub.bill()["requests"] == 1
    assert isinstance(error, EndpointError)
    assert error.exit_code == 5
    assert "refuses the key in TUTELAGE_API_KEY" in str(error)
    assert "sk-wrong" not in str(error)


def test_a_missing_key_says_where_it_was_looked_for(tmp_path):
    with Stub(key="right") as stub:
        error = failing(tmp_path, stub.name())
    assert "looked for TUTELAGE_API_KEY in the environment and .env" in str(error)


def test_an_unknown_model_brings_the_endpoints_list(tmp_path, stub):
    error = failing(tmp_path, f"openai:stub-modle@{stub.url}")
    assert "does not serve 'stub-modle'" in str(error)
    assert "stub-model, other-model" in str(error)


def test_a_missing_route_points_to_v1(tmp_path, stub):
    error = failing(tmp_path, f"openai:stub-model@{stub.url.removesuffix('/v1')}")
    assert "no such route" in str(error)
    assert "/v1" in str(error)


def test_a_dead_endpoint_is_noticed_and_named(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = failing(tmp_path, f"openai:m@http://127.0.0.1:{port}/v1", count=50)
    assert f"http://127.0.0.1:{port}/v1" in str(error)
    assert "cannot be reached" in str(error)


def test_an_endpoint_that_dies_on_the_way_keeps_what_it_answered(tmp_path):
    with Stub(crash_after=30) as stub, Place(tmp_path, stub.name(), start=4, concurrency=4) as place:
        with pytest.raises(EndpointError, match="cannot be reached"):
            place.role.generate(questions(60), GREEDY)
        assert 26 <= len(place.cache) <= 30
        assert place.ledger.in_doubt().calls >= 1
        stub.stop()
    with Stub() as stub, Place(tmp_path, stub.name()) as place:
        held = len(place.cache)
        assert len(place.role.generate(questions(60), GREEDY)) == 60
        assert stub.bill()["requests"] == 60 - held


def test_a_server_that_comes_back_is_waited_for(tmp_path):
    with Stub(crash_after=20) as stub, Place(tmp_path, stub.name(), start=4, concurrency=4, dead_s=600.0) as place:

        def again(done, total):
            if done >= 16 and not stub.settings.get("port"):
                stub.settings = {"port": stub.port}
                threading.Timer(0.5, stub.start).start()

        place.role._progress = again
        said = place.role.generate(questions(60), GREEDY)
        assert all(row[0].error is None for row in said)
        assert place.ledger.physical().calls == 60


def test_a_refused_request_after_answers_to_others_is_data(stub, tmp_path):
    with Place(tmp_path, stub.name()) as place:
        place.role.generate(questions(1), GREEDY)
        assert "Unsupported value" in str(place.role.generate([Prompt.user("[[400]]")], GREEDY)[0][0].error)


def test_a_certificate_nobody_vouches_for_ends_the_run(tmp_path):
    certificate = tmp_path / "own.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "1",
         "-keyout", str(certificate), "-out", str(tmp_path / "cert.pem")], check=False, capture_output=True,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.skip("openssl is not installed")
    certificate.write_text(certificate.read_text() + (tmp_path / "cert.pem").read_text())
    with Stub(certificate=str(certificate)) as stub:
        error = failing(tmp_path, stub.name())
    assert "can be trusted" in str(error)
    assert "SSL_CERT_FILE" in str(error)


def test_a_web_page_instead_of_json(tmp_path):
    with Stub(html=True) as stub:
        error = failing(tmp_path, stub.name())
    assert "web page instead of JSON" in str(error)
    assert "<!DOCTYPE" in str(error)


def test_a_redirect_is_not_followed_with_the_key(tmp_path):
    with Stub(redirect=True) as stub:
        assert "redirects" in str(failing(tmp_path, stub.name()))


def test_an_account_without_credit_ends_the_run(tmp_path, stub):
    with Place(tmp_path, stub.name()) as place, pytest.raises(EndpointError, match="no credit left"):
        place.role.generate([Prompt.user("[[quota]]")], GREEDY)


def test_replies_without_choices_are_tried_again_and_then_data(stub, tmp_path):
    stub.reset()
    with Place(tmp_path, stub.name(), attempts=3) as place:
        said = place.role.generate([*questions(5), Prompt.user("[[empty]]"), Prompt.user("[[500]]")], GREEDY)
        assert [row[0].error is None for row in said] == [True] * 5 + [False] * 2
        assert "given up after 3 failed attempts: the reply has no choices" in str(said[5][0].error)
        assert "HTTP 500" in str(said[6][0].error)
        assert place.cache.stats().errors == 2
        assert place.ledger.physical().tokens >= 5 * 13
        assert place.cache.prune(errors=True) == 2
    assert stub.bill()["statuses"]["500"] == 3


def test_a_text_longer_than_the_context_is_data(stub, tmp_path):
    with Place(tmp_path, stub.name()) as place:
        said = place.role.generate([Prompt.user("[[overflow]]"), Prompt.user("fine")], GREEDY)
        assert "longer than the model's context" in str(said[0][0].error)
        assert said[1][0].error is None


def test_refused_requests_are_data_only_if_the_endpoint_answers_others(stub, tmp_path):
    with Place(tmp_path / "all", stub.name()) as place:
        with pytest.raises(EndpointError, match="Unsupported value: 'temperature'"):
            place.role.generate([Prompt.user(f"[[400]] {n}") for n in range(3)], GREEDY)
        assert len(place.cache) == 0
    with Place(tmp_path / "one", stub.name()) as place:
        said = place.role.generate([Prompt.user("[[400]]"), Prompt.user("fine")], GREEDY)
        assert "Unsupported value" in str(said[0][0].error)
        assert said[1][0].error is None


def test_texts_that_cannot_be_embedded_or_scored_are_errors_not_numbers(stub, tmp_path):
    with Place(tmp_path, f"openai:absent@{stub.url}") as place, pytest.raises(EndpointError, match="does not serve"):
        place.role.embed(["x"])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("openai:m@ftp://x/v1", "does not start with http"),
        ("openai:@http://x/v1", "no model"),
        ("openai:m@http:///v1", "is not one"),
        ("openai:m@http://user:secret@x/v1", "contains a password"),
        ("openai:m@http://x/v1?concurency=3", "did you mean 'concurrency'"),
        ("openai:m@http://x/v1?concurrency=many", "cannot be read"),
        ("openai:m@http://x/v1?concurrency=0", "at least 1"),
        ("openai:m@http://x/v1?api=chatty", "known: chat, completions"),
        ("openai:m@http://x/v1?timeout_s=0", "above 0"),
    ],
)
def test_addresses_that_cannot_be_used(name, says):
    with pytest.raises(SettingsError, match=says) as caught:
        Address.parse(name)
    assert "secret" not in str(caught.value)


def test_addresses():
    assert Address.parse("openai:gpt-4o").base == "https://api.openai.com/v1"
    assert Address.parse("openai:gpt-4o").tokens_field == "max_completion_tokens"
    odd = Address.parse("openai:@cf/meta/llama-3@https://host/v1/")
    assert (odd.model, odd.base, odd.tokens_field) == ("@cf/meta/llama-3", "https://host/v1", "max_tokens")
    same = Address.parse("openai:m@http://a/v1").digest
    assert Address.parse("openai:m@http://a/v1?concurrency=9").digest == same
    assert Address.parse("openai:m@http://a/v1?api=completions").digest != same
    assert Address.parse("openai:m@http://b/v1").digest != same
    moved = [Address.parse(f"openai:m@http://{host}/v1?identity=mine").digest for host in "ab"]
    assert moved[0] == moved[1] != same


def test_a_providers_key_goes_to_that_provider_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    openai, groq, other = (
        Address.parse(n) for n in ("openai:m", "openai:m@https://api.groq.com/openai/v1", "openai:m@https://evil.example/v1?concurrency=2")
    )
    assert key_of(openai).header() == {"Authorization": "Bearer sk-openai"}
    assert key_of(groq).header() == {}
    assert key_of(other).header() == {}
    assert Address.parse("openai:m@https://api.openai.com.evil.example/v1").key_name == "TUTELAGE_API_KEY"
    monkeypatch.setenv("OPENAI_BASE_URL", "https://own.example/v1")
    assert key_of(Address.parse("openai:m")).header() == {"Authorization": "Bearer sk-openai"}
    assert key_of(other.having({"key_env": "OPENAI_API_KEY"}))


def test_keys_come_from_dotenv_where_the_environment_has_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address = Address.parse("openai:m@https://api.mistral.ai/v1")
    assert not key_of(address)
    (tmp_path / ".env").write_text('# mine\nOTHER=1\nexport MISTRAL_API_KEY="from file" \n')
    with pytest.raises(SettingsError, match="MISTRAL_API_KEY contains characters"):
        key_of(address)
    (tmp_path / ".env").write_text("MISTRAL_API_KEY=from-file # comment\n")
    assert key_of(address).header() == {"Authorization": "Bearer from-file"}
    monkeypatch.setenv("MISTRAL_API_KEY", "from-environment")
    key = key_of(address)
    assert key.header() == {"Authorization": "Bearer from-environment"}
    assert "environment" not in repr(key)
    assert key.scrub("said from-environment!") == "said [key]!"


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


def test_the_guide_names_the_options_and_keys_that_there_are():
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "endpoints.md").read_text()
    rows = [line.split("|")[1:-1] for line in guide.splitlines() if line.startswith("| ") and "`" in line]
    options = {word for cells in rows if len(cells) == 3 for word in re.findall(r"`(\w+)`", cells[0])}
    silent = {"connect_s", "backoff_s", "silence_s", "texts", "limit_field"}
    assert options | silent == {f.name for f in dataclasses.fields(Address)} - {"model", "base"}
    assert not options & silent
    keys = {cells[0].strip(): cells[1].strip(" `") for cells in rows if len(cells) == 2 and cells[1].strip(" `").endswith("_KEY")}
    for host, name in keys.items():
        if " " not in host:
            assert Address.parse(f"openai:m@https://{host}/v1").key_name == name
    assert len(keys) == 12
