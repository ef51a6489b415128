"""How many programs a minute run in the sandbox, and what a call to a session costs.

    python benchmarks/sandbox.py [--jobs 300] [--processors 2]

Compares with a bare `python -c` of the same interpreter in the same run, so that the price of the walls can be read as a ratio.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from tutelage.sandbox import Job, Limits, Weak, Worker, execute_all, open_sandbox
from tutelage.sandbox.bubblewrap import python_program


def bare(number: int) -> int:
    return subprocess.run([python_program(), "-ISB", "-c", f"print({number} ** 2)"], capture_output=True, check=True).returncode


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--jobs", type=int, default=300)
    options.add_argument("--processors", type=int, default=2)
    asked = options.parse_args()
    jobs = [Job(source=f"print({i} ** 2)") for i in range(asked.jobs)]
    begun = time.perf_counter()
    with ThreadPoolExecutor(asked.processors) as waiting:
        list(waiting.map(bare, range(asked.jobs)))
    plain = asked.jobs / (time.perf_counter() - begun) * 60
    print(f"bare interpreter: {plain:,.0f} a minute on {asked.processors} processors")
    for sandbox in (open_sandbox(), Weak()):
        begun = time.perf_counter()
        results = execute_all(sandbox, jobs, Limits(), processors=asked.processors)
        rate = asked.jobs / (time.perf_counter() - begun) * 60
        wrong = sum(result.stdout != f"{i**2}\n" for i, result in enumerate(results))
        print(f"{sandbox.name}: {rate:,.0f} a minute ({rate / plain:.2f} of bare), {wrong} wrong")
        with Worker(sandbox, Limits()) as worker:
            worker.call("x = 0")
            begun = time.perf_counter()
            for _ in range(1000):
                worker.call("x += 1")
            took = time.perf_counter() - begun
            print(f"{sandbox.name}, session: {took:.2f} ms a call, x = {worker.call('x').stdout.strip()}")


if __name__ == "__main__":
    main()
