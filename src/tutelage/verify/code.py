"""Python programs, judged by tests that run in the sandbox.

`context["tests"]`: statements or assertions, one text each (or one text with all), run after the program in its namespace; or
`context["cases"]`: {"input", "output"} pairs, the program reading standard input. `context["prefix"]` stands before a reply that only
continues it. The score is the share of tests that pass; right means all.

A program cannot pass by leaving early (`sys.exit`, `os._exit`), by printing, or by hanging: each test is acknowledged by a token that the
program has not seen. It shares a process with its tests, so a program that is written to attack them (by searching the interpreter's
frames, or returning objects that equal everything) is not ruled out; use `cases` where that matters.
"""

from __future__ import annotations

import ast
import re
import secrets
from collections.abc import Sequence

import orjson

from tutelage.records import Problem, Verdict
from tutelage.sandbox import Execution, Job, Limits, Sandbox, execute_all, open_sandbox
from tutelage.verify.extract import READ_LIMIT

LIMITS = Limits(wall_s=10, cpu_s=10, memory_mb=512, output_bytes=128 * 1024, processes=16)
TEST_S = 3
"""Seconds per test."""

_FENCED = re.compile(r"```[ \t]*(python|py|python3|Python)?[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)

_HARNESS = """
import json, os, signal, sys
order = json.load(sys.stdin)
acknowledge, quiet = os.dup(1), os.open(os.devnull, os.O_RDWR)
os.dup2(quiet, 0); os.dup2(quiet, 1)
def late(*_):
    raise TimeoutError("a test took too long")
signal.signal(signal.SIGALRM, late)
def attempt(source, name, space):
    signal.setitimer(signal.ITIMER_REAL, order["test_s"])
    try:
        exec(compile(source, name, "exec"), space)
        return ""
    except BaseException as failed:
        return f"{type(failed).__name__}: {failed}"[:200]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
def go(order, attempt=attempt, acknowledge=acknowledge, write=os.write, dumps=json.dumps):
    space = {"__name__": "solution"}
    program, tests, tokens = order.pop("program"), order.pop("tests"), order.pop("tokens")
    why = attempt(program, "<program>", space)
    if why:
        write(acknowledge, (dumps({"broken": why}) + "\\n").encode())
        return
    for test, token in zip(tests, tokens):
        why = attempt(test, "<test>", space)
        write(acknowledge, (dumps({"failed": why} if why else {"passed": token}) + "\\n").encode())
go(order)
"""


class Code:
    """A verifier that runs programs. `sandbox` is bubblewrap unless something else is given."""

    def __init__(self, *, sandbox: Sandbox | None = None, limits: Limits = LIMITS, processors: int = 2) -> None:
        self._sandbox = sandbox or open_sandbox()
        self._limits = limits
        self._processors = processors

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return self.judge([problem], [text])[0]

    def judge(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[Verdict]:
        """A verdict on each text, in order; all their processes share the processors."""
        orders = [self._jobs(problem, text) for problem, text in zip(problems, texts, strict=True)]
        done = iter(execute_all(self._sandbox, [job for jobs, _, _ in orders for job in jobs], self._limits, processors=self._processors))
        verdicts = []
        for (jobs, tokens, program), problem in zip(orders, problems, strict=True):
            results = [next(done) for _ in jobs]
            if program is None:
                verdicts.append(Verdict(score=0.0, parsed=False, reason="no Python program in the text"))
            elif tokens:
                verdicts.append(_by_tokens(results[0], tokens, program))
            else:
                verdicts.append(_by_output(results, problem.context["cases"], program))
        return verdicts

    def _jobs(self, problem: Problem, text: str) -> tuple[list[Job], list[str], str | None]:
        tests, cases = problem.context.get("tests"), problem.context.get("cases")
        program = program_in(text, prefix=str(problem.context.get("prefix", "")), must_define=problem.context.get("entry_point"))
        if program is None or not (tests or cases):
            return [], [], None
        if tests:
            listed = [tests] if isinstance(tests, str) else list(tests)
            tokens = [secrets.token_hex(16) for _ in listed]
            order = {"program": program, "tests": listed, "tokens": tokens, "test_s": TEST_S}
            return [Job(source=_HARNESS, stdin=orjson.dumps(order).decode())], tokens, program
        return [Job(source=program, stdin=str(case["input"])) for case in cases or ()], [], program


def program_in(text: str, *, prefix: str = "", must_define: str | None = None) -> str | None:
    """The Python program that a text offers: its last fenced block that parses (and defines what must be defined), else the whole text."""
    text = text[-READ_LIMIT:]
    blocks = [body for _, body in _FENCED.findall(text)]
    candidates = [*reversed(blocks), "\n\n".join(blocks), text] if blocks else [text]
    for candidate in candidates:
        for source in (candidate, prefix + candidate) if prefix else (candidate,):
            if source.strip() and _parses(source) and (must_define is None or must_define in _defined(source)):
                return source
    return None


def _parses(source: str) -> bool:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    # One word, or words with commas, parse as Python too; a program does something.
    return any(not isinstance(node, ast.Expr) or isinstance(node.value, ast.Call) for node in tree.body)


def _defined(source: str) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def _by_tokens(result: Execution, tokens: Sequence[str], program: str) -> Verdict:
    passed, reasons = 0, []
    lines = result.stdout.splitlines()
    for number, token in enumerate(tokens):
        try:
            line = orjson.loads(lines[number]) if number < len(lines) else {}
        except orjson.JSONDecodeError:
            line = {}
        if line.get("passed") == token:
            passed += 1
        else:
            reasons.append(line.get("broken") or line.get("failed") or ("ended early" if result.status == "ok" else result.status))
            if "broken" in line:
                break
    return Verdict(
        score=passed / len(tokens), extracted=program, reason=f"{passed} of {len(tokens)} tests" + (f"; {reasons[0]}" if reasons else "")
    )


def _by_output(results: Sequence[Execution], cases: Sequence[dict[str, str]], program: str) -> Verdict:
    passed, first = 0, ""
    for result, case in zip(results, cases, strict=True):
        if result.ok and _lines(result.stdout) == _lines(str(case["output"])):
            passed += 1
        elif not first:
            first = f"; {result.status if not result.ok else 'another output'}"
    return Verdict(score=passed / len(cases), extracted=program, reason=f"{passed} of {len(cases)} cases{first}")


def _lines(text: str) -> list[str]:
    """Lines without trailing white space and without empty ones at the end."""
    return [line.rstrip() for line in text.rstrip().splitlines()]
