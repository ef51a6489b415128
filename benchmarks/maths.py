"""The verifier of expressions on 10,000 pairs, 200 of them hostile: throughput, worst case, leaked processes.

    python benchmarks/maths.py [--pairs 10000] [--hostile 200]

The pairs are made here, right and wrong ones in equal parts, with the answer known from how they were made, so agreement is printed too.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path

from tutelage.verify.maths import Maths


def pair(rng: random.Random) -> tuple[str, str, bool]:
    """(gold, said, whether they are equal)."""
    kind = rng.randrange(8)
    a, b, c = rng.randint(2, 30), rng.randint(2, 30), rng.randint(2, 9)
    off = rng.choice((0, 0, 1))
    if kind == 0:
        return str(a * b), str(a * b + off), off == 0
    if kind == 1:
        value = Fraction(a, b)
        other = Fraction(a * c + off, b * c)
        return f"\\frac{{{a}}}{{{b}}}", f"\\frac{{{a * c + off}}}{{{b * c}}}", value == other
    if kind == 2:
        return f"x^2 + {a + b}x + {a * b}", f"(x + {a})(x + {b + off})", off == 0
    if kind == 3:
        return f"({a}, {b})", f"({a}, {b + off})", off == 0
    if kind == 4:
        return f"{c}\\sqrt{{2}}", f"\\sqrt{{{2 * c * c + off}}}", off == 0
    if kind == 5:
        return f"\\{{{a}, {a + b}\\}}", f"\\{{{a + b + off}, {a}\\}}", off == 0
    if kind == 6:
        return str(a), f"x = {a + off}", off == 0
    return f"{a}\\pi", f"{a * c + off}\\pi / {c}", off == 0


def hostile(rng: random.Random) -> str:
    depth = rng.randint(50, 900)
    digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(10, 3000)))
    garbage = "".join(chr(rng.randint(32, 0x2FFF)) for _ in range(rng.randint(5, 800)))
    return rng.choice(
        (
            "9^{" * (2 + depth % 5) + "9" + "}" * (2 + depth % 5),
            "(" * (depth % 6 + 1) + f"{rng.randint(8, 30)}!" + ")!" * (depth % 6 + 1),
            "\\frac{1}{" * depth + "x" + "}" * depth,
            "(" * depth + "x" + ")" * depth,
            "\\sqrt{" * depth + "2" + "}" * depth,
            "\\int_0^1 " * (depth % 60) + "x^x",
            "+".join(f"x^{{{i}}}" for i in range(depth)),
            f"(x + y + z)^{{{depth * 7}}}",
            f"\\binom{{10^{{{depth % 12}}}}}{{{rng.randint(2, 10**6)}}}",
            digits + "^{" + digits[:6] + "}",
            garbage,
            "\\begin{pmatrix}" + " & ".join("1" * 5 for _ in range(depth % 40)) + "\\end{pmatrix}",
            "x" * depth,
            "1/0" * (depth % 20),
        )
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--pairs", type=int, default=10_000)
    options.add_argument("--hostile", type=int, default=200)
    asked = options.parse_args()
    rng = random.Random(0)
    work: list[tuple[str, str, bool | None]] = [pair(rng) for _ in range(asked.pairs - asked.hostile)]
    work += [("42", hostile(rng), None) for _ in range(asked.hostile)]
    rng.shuffle(work)
    seconds: list[float] = []
    evil_s = slowest = 0.0
    states: Counter[str] = Counter()
    disagree = 0
    seen: set[int] = set()
    with Maths() as worker:
        worker.compare("x + 1", "1 + x")
        begun = time.perf_counter()
        for gold, said, equal in work:
            started = time.perf_counter()
            state = worker.compare(gold, said)
            seconds.append(time.perf_counter() - started)
            states[state.split(" ")[0]] += 1
            if equal is None:
                evil_s += seconds[-1]
            else:
                slowest = max(slowest, seconds[-1])
                disagree += (state == "right") != equal
            seen.update(worker.pids())
        took = time.perf_counter() - begun
        for pid in list(seen):
            children = Path(f"/proc/{pid}/task/{pid}/children")
            seen.update(map(int, children.read_text().split()) if children.exists() else ())
    leaked = [pid for pid in seen if Path(f"/proc/{pid}").exists()]
    benign = len(work) - asked.hostile
    rate = benign / (took - evil_s)
    print(f"{len(work):,} pairs in {took:.0f} s; {rate:,.0f} ordinary pairs/s; {asked.hostile} hostile took {evil_s:.0f} s")
    median_ms = sorted(seconds)[len(seconds) // 2] * 1000
    print(f"worst pair {max(seconds):.2f} s, worst ordinary pair {slowest:.2f} s; median {median_ms:.1f} ms")
    print(f"states: {dict(states)}; {disagree} of {benign} ordinary pairs judged otherwise than made; leaked processes: {len(leaked)}")


if __name__ == "__main__":
    main()
