"""Verifiers that run something: expressions, programs, queries, patterns, schemas."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tutelage.errors import DataError
from tutelage.records import Problem
from tutelage.sandbox import Weak, open_sandbox, unavailable
from tutelage.verify.code import Code, program_in
from tutelage.verify.json_schema import json_inside, json_schema
from tutelage.verify.maths import LIMIT_S, Maths
from tutelage.verify.pattern import pattern
from tutelage.verify.sql import Sql, orders_rows, query_in

SANDBOXES = [pytest.param("walls", marks=pytest.mark.skipif(unavailable() is not None, reason=f"bubblewrap: {unavailable()}")), "weak"]


def sandbox(kind):
    return open_sandbox() if kind == "walls" else Weak()


RIGHT = [
    ("1/2", "\\frac{1}{2}"),
    ("x^2+1", "1+x^2"),
    ("2\\sqrt{2}", "\\sqrt{8}"),
    ("5", "x = 5"),
    ("\\{1,2\\}", "\\{2, 1\\}"),
    ("(1, 2)", "(1,2)"),
    ("18", "9 \\cdot 2"),
    ("0.5", "\\frac{1}{2}"),
    ("\\pi/2", "\\frac{\\pi}{2}"),
    ("12", "3 \\cdot 4"),
    ("x(x+1)", "x^2+x"),
    ("10", "10.0"),
]
WRONG = [
    ("1/2", "\\frac{1}{3}"),
    ("x^2+1", "x^2-1"),
    ("5", "6"),
    ("[1,2)", "[1,2]"),
    ("\\sqrt{2}", "1.41"),
    ("(1, 2)", "(2, 1)"),
    ("7", "x = 8"),
]
HOSTILE = [
    "9^{9^{9^9}}",
    "(((9!)!)!)!",
    "2^{10^{10}}",
    "\\frac{" * 300 + "1" + "}{2}" * 300,
    "(" * 1500 + "x" + ")" * 1500,
    "\\sqrt{" * 500 + "2" + "}" * 500,
    "\\int_0^1 " * 50 + "x",
    "x^{x^{x^{x^{x^{x}}}}}",
    "10^{10^{10^{10}}}",
    "\\binom{10^9}{5\\cdot 10^8}",
    "$$$$",
    "\\begin{matrix}",
    "\x00\x01",
    "😀" * 200,
]


def gone(pids):
    return not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_expressions_and_hostile_expressions():
    with Maths(limit_s=20) as worker:
        for gold, said in RIGHT:
            assert worker.compare(gold, said) == "right", (gold, said)
        for gold, said in WRONG:
            assert worker.compare(gold, said) == "wrong", (gold, said)
    with Maths(limit_s=0.2) as worker:
        states = [worker.compare("3", said) for said in HOSTILE]
        assert "right" not in states
        assert "time" in states
        assert worker.compare("1/2", "0.50") == "right"
        pids = worker.pids()
        children = Path(f"/proc/{pids[0]}/task/{pids[0]}/children").read_text().split()
        assert len(children) == 1
    assert gone([*pids, *children])
    assert LIMIT_S < 2


def test_maths_verdicts():
    problem = Problem(text="q", answer="\\frac{3}{4}")
    with Maths(limit_s=20) as worker:
        assert worker(problem, "so $\\boxed{0.75}$").right
        assert not worker(problem, "so $\\boxed{0.74}$").right
        assert not worker(problem, "no idea\nreally").parsed
        assert worker(problem, "<ans>" + "9" * 10_000 + "</ans>").score == 0
        assert not worker(Problem(text="q"), "<ans>1</ans>").parsed


def test_a_worker_that_dies_is_replaced():
    with Maths(limit_s=20) as worker:
        assert worker.compare("1/2", "2/4") == "right"
        os.kill(worker.pids()[0], 9)
        assert worker.compare("2x", "x+x") == "right"


def test_a_worker_outlives_the_thread_that_started_it():
    import threading

    with Maths(limit_s=20) as worker:
        starter = threading.Thread(target=worker.compare, args=("2x", "x+x"))
        starter.start()
        starter.join()
        pids = worker.pids()
        assert worker.compare("3x", "x+2x") == "right"
        assert worker.pids() == pids


ORPHANING = """
import os, time
from tutelage.verify.maths import Maths
worker = Maths()
worker.compare("2x", "x + x")
other = os.fork()
if other == 0:
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    time.sleep(60)
    os._exit(0)
print(other, *worker.pids(), flush=True)
os._exit(0)
"""


def test_a_worker_ends_with_its_owner_though_another_process_holds_the_pipe():
    done = subprocess.run([sys.executable, "-c", ORPHANING], capture_output=True, text=True, check=True)
    other, *pids = map(int, done.stdout.split())
    try:
        for _ in range(200):
            if gone(pids):
                break
            time.sleep(0.1)
        assert pids
        assert gone(pids)
    finally:
        os.kill(other, 9)


SQUARE = Problem(text="Square a number.", context={"tests": ["assert f(2) == 4", "assert f(-3) == 9"], "entry_point": "f"})
PROGRAMS = [
    ("```python\ndef f(x):\n    return x * x\n```", 1.0),
    ("Sure!\n```\ndef f(x): return x ** 2\n```\nDone.", 1.0),
    ("def f(x): return x * x", 1.0),
    ("```python\nprint(1)\n```\nthen\n```python\nf = lambda x: x * x\n```", 1.0),
    ("```python\ndef f(x):\n    return 4\n```", 0.5),
    ("```python\nimport sys\ndef f(x): sys.exit(0)\n```", 0.0),
    ("```python\nimport os\ndef f(x): os._exit(0)\n```", 0.0),
    ("```python\nimport os\nos._exit(0)\ndef f(x): return x * x\n```", 0.0),
    ("```python\ndef f(x):\n    while True: pass\n```", 0.0),
    ("```python\ndef f(x): print('{\"passed\": 1}')\n```", 0.0),
    ("```python\nraise SystemExit\ndef f(x): return x * x\n```", 0.0),
    ("```python\ndef f(x): return x * x\nimport os\nos.write(1, b'x' * 10**6)\n```", 1.0),
]


@pytest.mark.parametrize("kind", SANDBOXES)
def test_programs_with_tests(kind):
    verdicts = Code(sandbox=sandbox(kind)).judge([SQUARE] * len(PROGRAMS), [text for text, _ in PROGRAMS])
    assert [v.score for v in verdicts] == [score for _, score in PROGRAMS]
    assert all(v.parsed for v in verdicts)
    for text in ("I cannot.", "", "```python\ndef f(x) return x\n```", "yes", "```python\ndef g(x): return 1\n```"):
        assert not Code(sandbox=sandbox(kind))(SQUARE, text).parsed


@pytest.mark.parametrize("kind", SANDBOXES)
def test_programs_with_cases(kind):
    problem = Problem(text="Add.", context={"cases": [{"input": "1 2\n", "output": "3\n"}, {"input": "5 5", "output": "10"}]})
    judge = Code(sandbox=sandbox(kind))
    assert judge(problem, "```python\nprint(sum(map(int, input().split())))  \n```").right
    half = judge(problem, "```python\nprint(3)\n```")
    assert (half.score, half.right) == (0.5, False)


def test_finding_programs():
    assert program_in("    return x * x", prefix="def f(x):\n", must_define="f") == "def f(x):\n    return x * x"
    assert program_in("```python\nx = 1\n```\n```python\ny = 1\n```", must_define="x") == "x = 1\n"
    assert program_in("no, never") is None
    assert program_in("(" * 5000) is None


SHOP = "create table item(name text, price real, kind int);"
SHOP += "insert into item values ('pen', 1.5, 1), ('ink', 4, 2), ('cup', 4.0, 2), (null, 9, 3);"


@pytest.mark.parametrize("kind", SANDBOXES)
def test_queries(kind):
    judge = Sql(sandbox=sandbox(kind))
    bag = Problem(text="q", answer="SELECT name, price FROM item WHERE price >= 4", context={"schema": SHOP})
    ordered = Problem(text="q", answer="SELECT name FROM item WHERE name IS NOT NULL ORDER BY name", context={"schema": SHOP})
    more = "insert into item values ('jar', 3.9, 1);"
    two = Problem(text="q", answer="SELECT name FROM item WHERE price > 3.5", context={"schema": [SHOP, SHOP + more]})
    change = Problem(text="q", answer="DELETE FROM item WHERE kind = 2", context={"schema": SHOP})
    asked = [
        (bag, "```sql\nselect name, price from item where not price < 4 order by price desc;\n```", 1.0, True),
        (bag, "SELECT name, price * 1.0 AS p FROM item WHERE price > 3.99", 1.0, True),
        (bag, "SELECT price, name FROM item WHERE price >= 4", 0.0, True),
        (bag, "SELECT name FROM item WHERE price >= 4", 0.0, True),
        (bag, "SELECT DISTINCT name, price FROM item WHERE price > 4", 0.0, True),
        (bag, "SELECT nome FROM item", 0.0, True),
        (bag, "I do not know SQL.\nSorry.", 0.0, False),
        (bag, "SELECT name, price FROM item WHERE price >= 4; DROP TABLE item", 0.0, True),
        (bag, "ATTACH DATABASE '/tmp/x' AS x", 0.0, False),
        (bag, "SELECT load_extension('x'), 1", 0.0, True),
        (ordered, "SELECT name FROM item WHERE name NOTNULL ORDER BY 1", 1.0, True),
        (ordered, "SELECT name FROM item WHERE name NOTNULL ORDER BY name DESC", 0.0, True),
        (two, "SELECT name FROM item WHERE price >= 4", 0.0, True),
        (two, "SELECT name FROM item WHERE price >= 3.6", 1.0, True),
        (change, "DELETE FROM item WHERE price = 4", 1.0, True),
        (change, "DELETE FROM item", 0.0, True),
        (change, "SELECT * FROM item", 0.0, True),
    ]
    verdicts = judge.judge([one[0] for one in asked], [one[1] for one in asked])
    assert [(v.score, v.parsed) for v in verdicts] == [(score, parsed) for _, _, score, parsed in asked]
    with pytest.raises(DataError, match="gold query"):
        judge(Problem(text="q", answer="SELECT x FROM nowhere", context={"schema": SHOP}), "SELECT 1")


def test_a_query_without_end_is_stopped(tmp_path):
    from tutelage.sandbox import Limits

    path = tmp_path / "shop.sqlite"
    base = sqlite3.connect(path)
    base.executescript(SHOP)
    base.close()
    judge = Sql(sandbox=Weak(), limits=Limits(wall_s=1, memory_mb=512))
    problem = Problem(text="q", answer="SELECT count(*) FROM item", context={"database": str(path)})
    endless = "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r) SELECT count(*) FROM r"
    assert judge(problem, endless).reason == "time"
    assert judge(problem, "SELECT 4").right
    with pytest.raises(DataError, match="does not exist"):
        judge(Problem(text="q", answer="SELECT 1", context={"database": str(tmp_path / "no")}), "SELECT 1")


def test_finding_queries():
    assert query_in("```sql\nSELECT 1;\n```") == "SELECT 1"
    assert query_in("<ans>select 1</ans>") == "select 1"
    assert query_in("-- comment\nSELECT 1") == "-- comment\nSELECT 1"
    assert query_in("please select one") is None
    assert orders_rows("select a from b order by c")
    assert not orders_rows("select a from (select * from b order by c)")
    assert not orders_rows("select 'order by' from b -- order by")


def test_patterns():
    problem = Problem(text="q", context={"pattern": r"\d{4}-\d\d-\d\d"})
    assert pattern(problem, "<ans>2024-01-31</ans>").right
    assert not pattern(problem, "<ans>on 2024-01-31</ans>").right
    assert pattern(problem, "it was on 2024-01-31\nI think", whole_text=True).extracted == "2024-01-31"
    assert not pattern(problem, "").parsed
    assert pattern(Problem(text="q", answer="ye[sp]"), "yep").right
    assert not pattern(Problem(text="q", answer="(a|aa)+$"), "a" * 180 + "b").right
    slow = pattern(Problem(text="q", context={"pattern": r"(x+x+)+y"}), "x" * 190)
    assert not slow.right
    with pytest.raises(DataError, match="not a regular expression"):
        pattern(Problem(text="q", answer="("), "x")


SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 1}}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("text", "score", "parsed"),
    [
        ('{"n": 3}', 1.0, True),
        ('Here:\n```json\n{"n": 3}\n```\nDone.', 1.0, True),
        ('The result is {"n": 3}.', 1.0, True),
        ('{"n": 0}', 0.0, True),
        ('{"n": "3"}', 0.0, True),
        ('{"m": 3}', 0.0, True),
        ("[3]", 0.0, True),
        ('{"n": 3, "m": 1}', 0.0, True),
        ('{"n": NaN}', 0.0, False),
        ("{'n': 3}", 0.0, False),
        ('{"n": 3, "n": 4}', 0.0, False),
        ('{"n": 3', 0.0, False),
        ("", 0.0, False),
        ("[" * 100_000, 0.0, False),
        ('{"a":' * 5000 + "1" + "}" * 5000, 0.0, False),
    ],
)
def test_json_documents(text, score, parsed):
    verdict = json_schema(Problem(text="q", context={"schema": SCHEMA}), text)
    assert (verdict.score, verdict.parsed) == (score, parsed), verdict


def test_json_answers_and_broken_schemas():
    problem = Problem(text="q", answer='{"n": 3}', context={"schema": SCHEMA})
    assert json_schema(problem, '{ "n" : 3 }').right
    assert json_schema(problem, '{"n": 4}').reason == "valid, but another value"
    assert json_inside('a [1] b {"c": 2} d') == ('{"c": 2}', {"c": 2})
    with pytest.raises(DataError, match="not a JSON schema"):
        json_schema(Problem(text="q", context={"schema": {"type": "thing"}}), "{}")
    with pytest.raises(DataError, match="another document"):
        json_schema(Problem(text="q", context={"schema": {"$ref": "https://example.org/x.json"}}), "{}")
    assert not json_schema(Problem(text="q"), "{}").parsed
