"""SQL, judged by what it does: the query and the gold query run on the same SQLite databases, in the sandbox.

`context["schema"]` is a script that makes the database (or a list of scripts: the queries must agree on every database), or
`context["database"]` names a SQLite file. Rows are compared as a bag; in order where the gold query orders at its outermost level. Numbers
are equal across integer and real, reals to six significant digits; text is compared exactly; columns count by position, not by name. A gold
statement that changes data is judged by the database that it leaves behind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from tutelage.errors import DataError
from tutelage.records import Problem, Verdict
from tutelage.sandbox import Execution, Job, Limits, Sandbox, execute_all, open_sandbox
from tutelage.verify.extract import READ_LIMIT, final_answer

LIMITS = Limits(wall_s=10, cpu_s=10, memory_mb=1024, output_bytes=64 * 1024, processes=4)
MAX_ROWS = 200_000

_FENCED = re.compile(r"```[ \t]*(?:sql|SQL|sqlite)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
_BEGINS = re.compile(r"^\s*(?:--[^\n]*\n\s*)*(select|with|values|insert|update|delete|replace|create|alter|drop)\b", re.IGNORECASE)
_STRINGS = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)

_HARNESS = """
import collections, json, sqlite3, sys
order = json.load(sys.stdin)
def opened(script):
    base = sqlite3.connect(":memory:", isolation_level=None)
    if script is None:
        kept = sqlite3.connect("file:database.sqlite?mode=ro&immutable=1", uri=True)
        kept.backup(base)
    else:
        base.executescript(script)
    return base
def plain(value):
    if isinstance(value, float):
        return float(f"{value:.6g}") if value == value else None
    return ("bytes", value.hex()) if isinstance(value, bytes) else value
def outcome(base, query, changes):
    forbidden = {sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_PRAGMA}
    base.set_authorizer(lambda action, *_: sqlite3.SQLITE_DENY if action in forbidden else sqlite3.SQLITE_OK)
    cursor = base.execute(query)
    rows = cursor.fetchmany(order["max_rows"] + 1)
    if len(rows) > order["max_rows"]:
        raise sqlite3.DataError("too many rows")
    width = len(cursor.description or ())
    base.set_authorizer(None)
    if changes:
        return "state", sorted(base.iterdump())
    return width, [tuple(map(plain, row)) for row in rows]
def judged():
    for number, script in enumerate(order["scripts"]):
        try:
            gold = outcome(opened(script), order["gold"], order["changes"])
        except (sqlite3.Error, sqlite3.Warning) as failed:
            return {"state": "gold", "why": str(failed)}
        try:
            said = outcome(opened(script), order["said"], order["changes"])
        except (sqlite3.Error, sqlite3.Warning) as failed:
            return {"state": "error", "why": str(failed)}
        if gold[0] != said[0]:
            return {"state": "differs", "why": f"{said[0]} columns, not {gold[0]}"}
        same = gold[1] == said[1] if order["ordered"] or order["changes"] else collections.Counter(gold[1]) == collections.Counter(said[1])
        if not same:
            return {"state": "differs", "why": f"other rows on database {number + 1}"}
    return {"state": "same", "why": ""}
print(json.dumps(judged()))
"""


class Sql:
    """A verifier that runs queries. `sandbox` is bubblewrap unless something else is given."""

    def __init__(self, *, sandbox: Sandbox | None = None, limits: Limits = LIMITS, processors: int = 2) -> None:
        self._sandbox = sandbox or open_sandbox()
        self._limits = limits
        self._processors = processors

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return self.judge([problem], [text])[0]

    def judge(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[Verdict]:
        """A verdict on each text, in order."""
        queries = [query_in(text) for text in texts]
        jobs = [_job(problem, query) for problem, query in zip(problems, queries, strict=True) if query is not None]
        done = iter(execute_all(self._sandbox, jobs, self._limits, processors=self._processors))
        missing = Verdict(score=0.0, parsed=False, reason="no SQL statement in the text")
        return [
            missing if query is None else _verdict(problem, query, next(done)) for problem, query in zip(problems, queries, strict=True)
        ]


def query_in(text: str) -> str | None:
    """The statement that a text offers: the last fenced block that begins like SQL, else the final answer, else the text from there on."""
    text = text[-READ_LIMIT:]
    found = final_answer(text)
    for candidate in (*reversed(_FENCED.findall(text)), found.value if found else "", text):
        if _BEGINS.match(candidate):
            return candidate.strip().rstrip(";").strip()
    return None


def orders_rows(query: str) -> bool:
    """Whether the outermost query has an ORDER BY."""
    bare = _STRINGS.sub(" ", query)
    while True:
        shorter = re.sub(r"\([^()]*\)", " ", bare)
        if shorter == bare:
            return bool(re.search(r"\border\s+by\b", bare, re.IGNORECASE))
        bare = shorter


def _job(problem: Problem, query: str) -> Job:
    scripts, files = _databases(problem)
    gold = problem.answer or ""
    changes = not re.match(r"^\s*(?:select|with|values)\b", _STRINGS.sub(" ", gold), re.IGNORECASE)
    order = {
        "scripts": scripts, "gold": gold.strip().rstrip(";"), "said": query,
        "ordered": orders_rows(gold), "changes": changes, "max_rows": MAX_ROWS,
    }  # fmt: skip
    return Job(source=_HARNESS, stdin=orjson.dumps(order).decode(), files=files)


def _databases(problem: Problem) -> tuple[list[Any], dict[str, bytes]]:
    schema, database = problem.context.get("schema"), problem.context.get("database")
    if database is not None:
        path = Path(str(database))
        if not path.is_file():
            raise DataError("database of a problem does not exist", got=str(path), fix="context['database'] must name a SQLite file")
        return [None], {"database.sqlite": path.read_bytes()}
    if schema is None:
        raise DataError("a problem in SQL needs its database", got=sorted(problem.context), fix="put a script into context['schema']")
    return ([schema] if isinstance(schema, str) else list(schema)), {}


def _verdict(problem: Problem, query: str, done: Execution) -> Verdict:
    if not done.ok:
        return Verdict(score=0.0, extracted=query, reason=done.status if done.status != "error" else "the database could not be run")
    state = orjson.loads(done.stdout)
    if state["state"] == "gold":
        raise DataError(f"gold query of a problem does not run: {state['why']}", got=problem.answer)
    return Verdict(score=float(state["state"] == "same"), extracted=query, reason=state["why"] or "same")
