"""`tutelage cache` as a user calls it."""

import orjson
import pytest
from typer.testing import CliRunner

from tutelage.backends.wrappers import Cached
from tutelage.capabilities import Completion, Sampling
from tutelage.cli.cache import cache_app
from tutelage.errors import DataError, SettingsError
from tutelage.journal.cache import CallCache
from tutelage.journal.ledger import Ledger
from tutelage.journal.prices import load_prices, usd_range
from tutelage.records import ModelRef, Prompt


class Sometimes:
    def generate(self, prompts, sampling):
        return [[Completion(text=p.text, finish="error", error="no") if "bad" in p.text else Completion(text=p.text)] for p in prompts]


@pytest.fixture
def cache(tmp_path):
    path = tmp_path / "c.sqlite"
    with CallCache(path) as opened:
        role = Cached(Sometimes, ModelRef(name="scripted:some", digest="d"), cache=opened, ledger=Ledger(None), role="teacher")
        role.generate([Prompt.user(t) for t in ("a", "b", "bad")], Sampling(max_tokens=3))
    return path


def call(*words):
    done = CliRunner().invoke(cache_app, [str(w) for w in words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def test_stats_verify_prune(cache):
    code, said = call("stats", "--file", cache)
    assert code == 0
    assert "3 answers, 1 of them failures" in said
    assert "scripted:some" in said
    assert orjson.loads(call("stats", "--file", cache, "--json")[1])["by_kind"] == {"generate": 3}
    assert call("verify", "--file", cache) == (0, "3 answers, 0 findings\n")
    assert call("prune", "--file", cache, "--errors") == (0, "1 answers forgotten, 2 left\n")
    assert call("prune", "--file", cache, "--older-than", 1) == (0, "0 answers forgotten, 2 left\n")
    assert call("prune", "--file", cache, "--model", "scripted:some") == (0, "2 answers forgotten, 0 left\n")


def test_export_and_import(cache, tmp_path):
    for name in ("x.jsonl", "x.parquet"):
        assert "3 answers in" in call("export", tmp_path / name, "--file", cache)[1]
        new = tmp_path / f"{name}.sqlite"
        assert call("import", tmp_path / name, "--file", new) == (0, "3 answers read, 3 of them new\n")
        assert call("import", tmp_path / name, "--file", new) == (0, "3 answers read, 0 of them new\n")
        assert call("verify", "--file", new)[0] == 0


def test_damage_exits_with_one(cache):
    import sqlite3

    with sqlite3.connect(cache) as db:
        db.execute("UPDATE calls SET body = x'00' WHERE rowid = 1")
    db.close()
    code, said = call("verify", "--file", cache)
    assert code == 1
    assert "unreadable" in said
    assert call("prune", "--file", cache, "--broken")[1] == "1 answers forgotten, 2 left\n"


def test_bad_input(tmp_path):
    with pytest.raises(DataError, match="no call cache"):
        call("stats", "--file", tmp_path / "none.sqlite")
    CallCache(tmp_path / "c.sqlite").close()
    with pytest.raises(SettingsError, match="condition"):
        call("prune", "--file", tmp_path / "c.sqlite")
    with pytest.raises(SettingsError, match=r"\.jsonl or \.parquet"):
        call("export", tmp_path / "x.txt", "--file", tmp_path / "c.sqlite")


def test_expected_money_is_a_range():
    price = load_prices().of("gpt-4o-mini")
    assert price is not None
    low, high = usd_range(price, (1_000_000, 2_000_000), (0, 1_000_000))
    assert low == pytest.approx(0.15)
    assert high == pytest.approx(0.90)
