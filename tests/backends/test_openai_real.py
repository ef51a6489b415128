"""A real OpenAI-compatible server, `transformers serve`, with the bundled teacher, on this machine only."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

import forked
from servers.endpoints import Place
from tutelage import backends, bundled
from tutelage.backends.address import Address
from tutelage.capabilities import Sampling
from tutelage.errors import EndpointError, TutelageError
from tutelage.journal.cache import CallCache
from tutelage.records import Prompt

MISSING = [name for name in ("fastapi", "uvicorn", "openai") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"`transformers serve` needs {', '.join(MISSING)}: pip install 'transformers[serving]'"
)

FOLDER = str(bundled.folder("teacher"))
ASKED = [Prompt.user(f"Q : sum of Mon {n} Tue 3 Wed 5 last digit ?\nsteps :") for n in range(6)]
LINE = Sampling(max_tokens=40, stop=("\n",))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    environment = os.environ | {"HF_HUB_CACHE": str(folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", FOLDER, "--host", "127.0.0.1", "--port", str(port)]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([*command, "--device", "cpu", "--dtype", "float32"], env=environment, stdout=log, stderr=log)
    try:
        while not _answers(port):
            if process.poll() is not None:
                pytest.fail("server ended: " + (folder / "log").read_text()[-2000:])
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def _answers(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


def named(server, **options):
    query = "&".join(f"{k}={v}" for k, v in ({"api": "completions", "dialect": "folds", "concurrency": 2} | options).items())
    return f"openai:{FOLDER}@{server}?{query}"


def test_the_same_model_says_the_same_over_http_and_in_this_process(server, tmp_path):
    with Place(tmp_path, named(server), timeout_s=120.0) as place:
        served = [row[0] for row in place.role.generate(ASKED, LINE)]
        physical = place.ledger.physical()
        assert physical.calls == 6
        assert physical.prompt_tokens == sum(c.prompt_tokens for c in served)
    here = backends.open_backend(backends.resolve("bundled:teacher")).generate(ASKED, LINE)
    assert [c.text.strip() for c in served] == [row[0].text.strip() for row in here]
    assert [c.prompt_tokens for c in served] == [row[0].prompt_tokens for row in here]
    assert all(c.text.strip() for c in served)


def test_samples_are_there_and_durable(server, tmp_path):
    drawn = Sampling(max_tokens=12, temperature=1.0, n=2, seed=1, stop=("\n",))
    with Place(tmp_path, named(server), timeout_s=120.0) as place:
        said = place.role.generate(ASKED[:2], drawn)
        assert [len(row) for row in said] == [2, 2]
    with Place(tmp_path, named(server)) as place:
        assert place.role.generate(ASKED[:2], drawn) == said
        assert not place.role.opened


def test_what_the_server_cannot_do_is_said(server, tmp_path):
    with Place(tmp_path / "a", named(server, api="chat"), attempts=2) as place, pytest.raises(EndpointError, match="api=completions"):
        place.role.generate(ASKED[:1], LINE)
    other = named(server).replace(FOLDER, "another-model")
    with Place(tmp_path / "b", other) as place, pytest.raises(EndpointError, match="pinned to"):
        place.role.generate(ASKED[:1], LINE)
    with Place(tmp_path / "c", named(server, score="echo")) as place, pytest.raises(TutelageError, match=r"echo|log-prob"):
        place.role.score(ASKED[:1], [" x"])


def test_facts_come_from_the_name_alone():
    facts = backends.facts(backends.resolve(named("http://127.0.0.1:9/v1")))
    assert facts.dialect == "folds"
    assert not facts.chat_template
    assert facts.capabilities == {"generate", "embed"}
    assert Address.parse(named("http://127.0.0.1:9/v1")).concurrency == 2


def test_arms_that_need_no_teacher_weights_run_over_http(server, tmp_path):
    arms = ["original_teacher", "verified_sampling", "most_preferred", "best_of_n", "in_context"]
    chosen = [word for arm in arms for word in ("--arm", arm)]
    command = ["-m", "tutelage", "run", "arte", "--toy", "--task", "folds/shop", "--student", "bundled:student", *chosen]
    command += ["--teacher", named(server), "--seed", "0", "--out", str(tmp_path / "run")]
    environment = os.environ | {"TUTELAGE_CACHE": str(tmp_path / "cache.sqlite")}
    for _ in range(2):
        done = forked.run(*command, env=environment, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "Unclosed" not in done.stderr
        assert all(arm in done.stdout for arm in arms)
    assert "0 new model calls" in done.stdout
    with CallCache(tmp_path / "cache.sqlite") as cache:
        assert cache.stats().by_model[named(server)] > 20
        assert cache.stats().errors == 0
        assert cache.verify() == []
