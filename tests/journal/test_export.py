import math

import orjson
import pytest

from tutelage.backends.wrappers import Cached
from tutelage.capabilities import Completion, Sampling, TokenScores
from tutelage.errors import DataError, SettingsError
from tutelage.journal.cache import CallCache
from tutelage.journal.export import export_cache, export_rows, import_cache, read_export
from tutelage.journal.ledger import Ledger
from tutelage.records import ModelRef, Prompt

REF = ModelRef(name="scripted:known", digest="d1")
DRAWN = Sampling(max_tokens=8, temperature=0.7, n=2, seed=11, stop=("\n",))


class Known:
    def generate(self, prompts, sampling):
        return [[Completion(text=f"{p.text} ü {i}", logprobs=(-0.1, -math.inf), reasoning="r") for i in range(sampling.n)] for p in prompts]

    def score(self, prompts, completions):
        return [TokenScores(logprobs=(-0.123456789012345678,), prompt_tokens=3) for _ in prompts]

    def embed(self, texts):
        return [(0.1, 1 / 3) for _ in texts]


def ask(cache, opener=Known):
    role = Cached(opener, REF, cache=cache, ledger=Ledger(None), role="teacher")
    asked = [Prompt.user("one", system="be brief"), Prompt.user("zwei")]
    return role.generate(asked, DRAWN), role.score(asked, ["x", "y"]), role.embed(["t"])


def never():
    raise AssertionError("a complete cache opens no model")


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_an_imported_export_answers_everything_bit_for_bit(tmp_path, suffix):
    path = tmp_path / f"answers{suffix}"
    with CallCache(tmp_path / "a.sqlite") as cache:
        said = ask(cache)
        assert export_cache(cache, path) == 7
        bodies = {key: body for key, body, _ in cache.rows()}
    with CallCache(tmp_path / "b.sqlite") as other:
        assert import_cache(other, path) == (7, 0)
        assert import_cache(other, path) == (0, 7)
        assert {key: body for key, body, _ in other.rows()} == bodies
        assert other.verify() == []
        assert ask(other, never) == said


def test_rows_hold_question_and_answer_for_readers(tmp_path):
    with CallCache(tmp_path / "a.sqlite") as cache:
        ask(cache)
        rows = list(export_rows(cache))
        assert [r["kind"] for r in rows] == ["generate"] * 4 + ["score"] * 2 + ["embed"]
        first = rows[0]
        assert first["model"] == "scripted:known"
        assert first["prompt"] == [["system", "be brief"], ["user", "one"]]
        assert first["sampling"] == {"max_tokens": 8, "temperature": 0.7, "top_p": 1.0, "seed": 11, "stop": ["\n"]}
        assert (first["index"], first["completion"]["text"]) == (0, "be brief\n\none ü 0")
        assert rows[4]["text"] == "x"
        assert rows[6]["result"] == {"vector": [0.1, 1 / 3]}
        assert len(list(export_rows(cache, kind="embed"))) == 1
        assert list(export_rows(cache, model="other")) == []
        assert export_cache(cache, tmp_path / "one.jsonl", kind="score") == 2
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix == ".jsonl") == ["one.jsonl"]


def test_edited_and_foreign_files_are_refused_with_their_row(tmp_path):
    path = tmp_path / "a.jsonl"
    with CallCache(tmp_path / "a.sqlite") as cache:
        ask(cache)
        export_cache(cache, path)
    lines = path.read_bytes().splitlines(keepends=True)
    row = orjson.loads(lines[1])
    row["index"] = 9
    path.write_bytes(lines[0] + orjson.dumps(row) + b"\n")
    with pytest.raises(DataError, match=r"row 2 of .* does not hash"):
        list(read_export(path))
    path.write_text('{"prompt": "x"}\n')
    with pytest.raises(DataError, match=r"row 1 of .* not an exported answer"):
        list(read_export(path))
    path.write_text("{\n")
    with pytest.raises(DataError, match=r"line 1 of .* not JSON"):
        list(read_export(path))
    broken = tmp_path / "b.parquet"
    broken.write_bytes(b"no parquet here")
    with pytest.raises(DataError, match="Parquet"):
        list(read_export(broken))
    with pytest.raises(DataError, match="does not exist"):
        list(read_export(tmp_path / "none.jsonl"))
    with CallCache(tmp_path / "a.sqlite") as cache, pytest.raises(SettingsError, match=r"\.jsonl or \.parquet"):
        export_cache(cache, tmp_path / "a.csv")
