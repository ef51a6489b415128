"""Bad input and broken endpoints: each failure names what, the value, and the way out."""

import socket
import subprocess
import threading

import pytest

from servers.endpoints import GREEDY, Place, questions
from servers.running import Stub
from tutelage.errors import EndpointError, TutelageError
from tutelage.records import Prompt


@pytest.fixture(scope="module")
def stub():
    with Stub() as running:
        yield running


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
