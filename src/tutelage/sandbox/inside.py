"""Runs inside the sandbox, by itself: standard library only, nothing of this package can be imported there.

`inside.py run LIMITS PROGRAM` lowers the limits for good and runs the program. `inside.py serve LIMITS` answers requests, one JSON
object per line, keeping one namespace between them.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import resource
import runpy
import sys
import traceback
from typing import Any


def lower_limits(limits: dict[str, int]) -> None:
    """Soft and hard limits at once, so that they cannot be raised again."""
    for name, value in limits.items():
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


class Capped(io.StringIO):
    """Text up to a limit; what comes after is cut, and said so."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.left = limit

    def write(self, text: str, /) -> int:
        kept = text[: self.left]
        self.left -= len(kept)
        super().write(kept)
        return len(text)


def run_piece(source: str, namespace: dict[str, Any], limit: int) -> dict[str, Any]:
    """Runs the source in the namespace; the value of a last expression is printed, as in an interactive session."""
    out, err = Capped(limit), Capped(limit)
    status, code = "ok", 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            tree = ast.parse(source)
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "<piece>", "exec"), namespace)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), "<piece>", "eval"), namespace)
                if value is not None:
                    print(repr(value))
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
            status = "ok" if code == 0 else "error"
        except BaseException as failed:  # noqa: BLE001 - whatever a foreign program raises is its result, not ours
            status, code = ("memory" if isinstance(failed, MemoryError) else "error"), 1
            traceback.print_exc(limit=-3)
    cut = out.left <= 0 or err.left <= 0
    return {"stdout": out.getvalue(), "stderr": err.getvalue(), "status": "output" if cut else status, "exit_code": code}


def serve(limit: int) -> None:
    """Answers on a descriptor of its own, so that what a piece prints to descriptor 1 goes nowhere."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for line in requests:
        request = json.loads(line)
        reply = run_piece(request["source"], namespace, limit)
        replies.write(json.dumps({"call": request["call"], **reply}) + "\n")
        replies.flush()


def main() -> None:
    mode, limits = sys.argv[1], json.loads(sys.argv[2])
    output = limits.pop("output_bytes")
    lower_limits(limits)
    if mode == "serve":
        serve(output)
        return
    program = sys.argv[3]
    sys.argv = [program]
    sys.path.insert(0, os.path.dirname(program))
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
