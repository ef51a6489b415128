import json
import os
from pathlib import Path

import pytest

from tutelage import backends
from tutelage.backends import scripted
from tutelage.backends.wrappers import Cached
from tutelage.capabilities import Sampling
from tutelage.errors import DataError, EndpointError
from tutelage.journal.cache import CallCache
from tutelage.journal.export import export_cache
from tutelage.journal.ledger import Ledger
from tutelage.records import Prompt

GREEDY = Sampling(max_tokens=500)


def _open(path):
    ref = backends.resolve(f"recorded:{path}")
    return ref, backends.open_backend(ref)


def _write(path: Path, *rows) -> Path:
    path.write_text("\n".join(json.dumps(r) for r in rows))
    return path


def test_a_recorded_question_answers_whatever_asks_to_solve_it(tmp_path):
    _, backend = _open(
        _write(
            tmp_path / "a.jsonl",
            {"question": "1 + 1 is", "rationale": "two. So the answer is 2.", "target": "2", "answer": "2"},
            {"question": "not ( True ) is", "rationale": "It is False.", "target": "False", "answer": "False"},
            {"question": "not ( True ) is not", "rationale": "It is True.", "target": "True", "answer": "True"},
        )
    )
    asked = [
        Prompt.user("Solve.\n\nQuestion:\nnot ( True ) is\n\nThink.", kind="solve.plain"),
        Prompt.user("Example question:\n1 + 1 is\n2\n\nQuestion:\nnot ( True ) is not\n\nThink.", kind="solve.shots"),
        Prompt.user("Question:\n1 + 1 is", kind="solve.technique"),
        Prompt.user("Question:\n2 + 2 is"),
        Prompt.user("Write a question like this: 1 + 1 is", kind="questions"),
    ]
    rows = [row[0] for row in backend.generate(asked, GREEDY)]
    assert [r.text for r in rows] == ["It is False.", "It is True.", "two. So the answer is 2.", "", ""]
    assert [r.finish for r in rows] == ["stop", "stop", "stop", "error", "error"]
    assert "2 + 2 is" in rows[3].error
    assert "a.jsonl" in rows[3].error


def test_rows_of_one_prompt_are_its_samples(tmp_path):
    prompt = Prompt.user("Mon ?")
    _, backend = _open(
        _write(
            tmp_path / "a.jsonl",
            {"prompt": "Mon ?", "completion": "one"},
            {"key": prompt.id, "completion": {"text": "two", "completion_tokens": 7, "prompt_tokens": 9, "finish": "length"}},
        )
    )
    (row,) = backend.generate([prompt], Sampling(max_tokens=9, temperature=1.0, n=3, seed=0))
    assert [c.text for c in row] == ["one", "two", ""]
    assert (row[1].completion_tokens, row[1].prompt_tokens, row[1].finish) == (7, 9, "length")
    assert "sample 2 was not recorded" in row[2].error


def test_a_file_that_answers_nothing_is_the_wrong_file(tmp_path):
    _, backend = _open(_write(tmp_path / "a.jsonl", {"prompt": "Mon ?", "completion": "one"}))
    with pytest.raises(EndpointError, match=r"(?s)none of the 2 prompts.*Tue.*a.jsonl.*fix"):
        backend.generate([Prompt.user("Tue ?"), Prompt.user("Wed ?")], GREEDY)


def test_an_exported_cache_plays_back_what_was_asked(tmp_path):
    scripted.register(scripted.Script(name="to-record", answer=lambda p, i, seed: f"{p.text} {i} {seed}"))
    ref = backends.resolve("scripted:to-record")
    prompts = [Prompt.user(f"question {i}") for i in range(3)]
    drawn = Sampling(max_tokens=50, temperature=1.0, n=2, seed=8)
    cache, ledger = CallCache(tmp_path / "c.sqlite"), Ledger(tmp_path / "l.sqlite")
    role = Cached(lambda: backends.open_backend(ref), ref, cache=cache, ledger=ledger, role="teacher")
    greedy, samples = role.generate(prompts, GREEDY), role.generate(prompts, drawn)
    export_cache(cache, tmp_path / "answers.jsonl")
    cache.close()
    ledger.close()
    _, backend = _open(tmp_path / "answers.jsonl")
    assert backend.generate(prompts, drawn) == samples
    assert backend.generate(prompts, GREEDY) == greedy
    other = Sampling(max_tokens=50, temperature=1.0, n=2, seed=9)
    with pytest.raises(EndpointError, match="none of the 3 prompts"):
        backend.generate(prompts, other)


def test_identity_is_the_contents(tmp_path):
    one, _ = _open(_write(tmp_path / "a.jsonl", {"prompt": "x", "completion": "1"}))
    two, _ = _open(_write(tmp_path / "b.jsonl", {"prompt": "x", "completion": "1"}))
    three, _ = _open(_write(tmp_path / "c.jsonl", {"prompt": "x", "completion": "2"}))
    assert one.id == two.id != three.id
    assert _open(tmp_path)[0].id not in (one.id, three.id)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"prompt": "x", "completion": "1"}\n{"prompt', "line 2 of .* is not JSON"),
        ("[1]", "line 1 of .* is not a JSON object"),
        ('{"prompt": "x"}', "line 1 of .* is not a recorded answer"),
        ('{"completion": "x"}', "line 1 of .* is not a recorded answer"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, said):
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(DataError, match=said):
        _open(tmp_path / "a.jsonl")


def test_a_missing_file_and_an_empty_folder_are_named(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        backends.resolve(f"recorded:{tmp_path / 'none.jsonl'}")
    with pytest.raises(DataError, match="holds no recorded answers"):
        backends.resolve(f"recorded:{tmp_path}")


@pytest.mark.skipif("TUTELAGE_DATA" not in os.environ, reason="TUTELAGE_DATA is not set")
def test_every_recorded_rationale_of_bbh_is_found_again():
    folder = Path(os.environ["TUTELAGE_DATA"]) / "bbh_recorded"
    _, backend = _open(folder)
    files = sorted(folder.glob("*.jsonl"))
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert len(files) == 6
    assert len(rows) > 1000
    prompts = [Prompt.user(f"Task.\n\nQuestion:\n{r['question']}\n\nThink step by step.", kind="solve.plain") for r in rows]
    answers = [row[0] for row in backend.generate(prompts, Sampling(max_tokens=4000))]
    assert sum(a.text == r["rationale"] for a, r in zip(answers, rows, strict=True)) >= len(rows) - 5, "few questions occur twice"
    assert {a.finish for a in answers} == {"stop"}
