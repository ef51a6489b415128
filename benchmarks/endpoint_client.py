"""The endpoint client against a bare loop, the openai client and distilabel, in one invocation on this machine.

    python benchmarks/endpoint_client.py                     # all of it, about ten minutes
    python benchmarks/endpoint_client.py --only speed --latencies 50 --no-peers

Everything talks to one stub server on 127.0.0.1 in a process of its own. Each client runs in a fresh process and warms up first; ours
keeps every answer in the call cache (full synchronisation) and every bill in the ledger before it counts it. Repeats of the bare loop and
of ours alternate, so that a busy machine disturbs both alike; the table gives medians, the bars compare medians. The peers live in
environments of their own under build/benchmark-envs, made by pip on first use.

Bars: at 50 ms, 250 under way, 6,000 calls: ours >= 60 % of the bare loop's calls/s, >= 5 x the openai client, >= 10 x distilabel 1.5.3.
200,000 calls at 0 ms: resident memory grows by at most 50 MB between call 20,000 and call 200,000.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ENVS = ROOT / "build" / "benchmark-envs"
PEERS = {
    "openai": ("openai==3.52.0",),
    # `requests` is used by distilabel and not declared by it.
    "distilabel": ("distilabel[openai]==1.5.3", "requests"),
}
QUESTION = "Question number {} : a train leaves with {} apples and returns with 3 fewer . How many apples are on the train ?"
MAX_TOKENS = 32


def question(number: int) -> str:
    return QUESTION.format(number, number % 97)


# The clients, each run as a child process: prints one JSON line


def run_bare(url: str, calls: int, concurrency: int, folder: str) -> int:
    import aiohttp
    import orjson

    async def work() -> int:
        numbers = iter(range(calls))
        texts: list[str] = []
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, headers={"Content-Type": "application/json"}) as session:

            async def worker() -> None:
                for number in numbers:
                    messages = [{"role": "user", "content": question(number)}]
                    body = orjson.dumps({"model": "stub-model", "max_tokens": MAX_TOKENS, "temperature": 0, "messages": messages})
                    async with session.post(url + "/chat/completions", data=body) as response:
                        texts.append(orjson.loads(await response.read())["choices"][0]["message"]["content"])

            await asyncio.gather(*(worker() for _ in range(concurrency)))
        return len(texts)

    return asyncio.run(work())


def run_ours(url: str, calls: int, concurrency: int, folder: str) -> int:
    with _role(url, concurrency, folder) as role:
        return len(role.generate([_prompt(n) for n in range(calls)], _sampling()))


def run_stream(url: str, calls: int, concurrency: int, folder: str) -> dict[str, Any]:
    """Ours over any number of rows; resident memory at a tenth of the way and at the end."""
    first, last, count, began_s = 0.0, 0.0, 0, time.perf_counter()
    with _role(url, concurrency, folder) as role:
        for _ in role.stream((_prompt(n) for n in range(calls)), _sampling()):
            count += 1
            if count == calls // 10:
                first = _resident_mb()
        last = _resident_mb()
        elapsed_s = time.perf_counter() - began_s
        file_mb = role._cache.file_bytes / 1e6
    return {"count": count, "first_mb": first, "last_mb": last, "file_mb": file_mb, "elapsed_s": elapsed_s}


def run_openai(url: str, calls: int, concurrency: int, folder: str) -> int:
    from openai import AsyncOpenAI

    async def work() -> int:
        numbers = iter(range(calls))
        texts: list[str | None] = []
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=2, timeout=300.0) as client:

            async def worker() -> None:
                for number in numbers:
                    reply = await client.chat.completions.create(
                        model="stub-model", max_tokens=MAX_TOKENS, temperature=0, messages=[{"role": "user", "content": question(number)}]
                    )
                    texts.append(reply.choices[0].message.content)

            await asyncio.gather(*(worker() for _ in range(concurrency)))
        return len(texts)

    return asyncio.run(work())


def run_distilabel(url: str, calls: int, concurrency: int, folder: str) -> int:
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    with Pipeline(name="bench", cache_dir=folder) as pipeline:
        llm = OpenAILLM(
            model="stub-model", base_url=url, api_key="none", generation_kwargs={"max_new_tokens": MAX_TOKENS, "temperature": 0}
        )
        load = LoadDataFromDicts(data=[{"instruction": question(n)} for n in range(calls)], batch_size=concurrency)
        load >> TextGeneration(llm=llm, input_batch_size=concurrency)  # pyright: ignore[reportUnusedExpression]
    done = pipeline.run(use_cache=False)
    return sum(text is not None for text in done["default"]["train"]["generation"])


CLIENTS = {"bare": run_bare, "ours": run_ours, "stream": run_stream, "openai": run_openai, "distilabel": run_distilabel}


def _role(url: str, concurrency: int, folder: str) -> Any:
    from contextlib import contextmanager

    from tutelage.backends.address import Address
    from tutelage.backends.openai import OpenAIBackend
    from tutelage.backends.wrappers import Cached
    from tutelage.journal.cache import CallCache
    from tutelage.journal.ledger import Ledger
    from tutelage.records import ModelRef

    @contextmanager
    def opened() -> Iterator[Any]:
        name = f"openai:stub-model@{url}?concurrency={concurrency}"
        ref = ModelRef(name=name, digest=Address.parse(name).digest)
        with CallCache(f"{folder}/cache.sqlite") as cache, Ledger(f"{folder}/ledger.sqlite") as ledger:
            role = Cached(lambda: OpenAIBackend(ref), ref, cache=cache, ledger=ledger, role="teacher", arm="bench")
            yield role
            role.close()

    return opened()


def _prompt(number: int) -> Any:
    from tutelage.records import Prompt

    return Prompt.user(question(number))


def _sampling() -> Any:
    from tutelage.capabilities import Sampling

    return Sampling(max_tokens=MAX_TOKENS)


def _resident_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def child(client: str, url: str, calls: int, concurrency: int) -> None:
    if client not in ("stream", "distilabel"):
        # Imports and first connections are not what is measured; distilabel makes them anew in processes of every pipeline.
        with tempfile.TemporaryDirectory() as folder:
            CLIENTS[client](url, concurrency, concurrency, folder)
    with tempfile.TemporaryDirectory() as folder:
        began_s, cpu_s = time.perf_counter(), _cpu_s()
        result = CLIENTS[client](url, calls, concurrency, folder)
        row = {"elapsed_s": time.perf_counter() - began_s, "cpu_s": _cpu_s() - cpu_s, "result": result}
    row["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print("RESULT " + json.dumps(row), flush=True)


def _cpu_s() -> float:
    """Of this process and of those it started and waited for (distilabel runs its steps in processes)."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


# The benchmark


def measure(client: str, url: str, calls: int, concurrency: int, *, python: str = sys.executable) -> dict[str, Any]:
    command = [python, __file__, "--child", client, "--url", url, "--calls", str(calls), "--concurrency", str(concurrency)]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI", "TUTELAGE"))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean | {"HF_HUB_OFFLINE": "1"})
    rows = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not rows:
        raise SystemExit(f"{client} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    row = json.loads(rows[-1].removeprefix("RESULT "))
    count = row["result"]["count"] if isinstance(row["result"], dict) else row["result"]
    if count != calls:
        raise SystemExit(f"{client} brought {count} of {calls} answers")
    return row | {"rate": calls / row["elapsed_s"], "cpu_ms": 1e3 * row["cpu_s"] / calls}


def environment(peer: str) -> str:
    """The python of the peer's own environment, made on first use."""
    folder = ENVS / peer
    python = folder / "bin" / "python"
    stamp = folder / "complete"
    wanted = "\n".join(PEERS[peer])
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"making an environment for {peer} in {folder.relative_to(ROOT)} ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *PEERS[peer]], check=True)
        stamp.write_text(wanted)
    shown = subprocess.run([str(python), "-m", "pip", "list", "--format", "json"], capture_output=True, text=True, check=True)
    version = next(row["version"] for row in json.loads(shown.stdout) if row["name"] == peer)
    print(f"{peer} {version}")
    return str(python)


def speed(args: argparse.Namespace) -> list[str]:
    """Calls per second of every client at every latency. Returns the bars that were missed."""
    missed = []
    pythons = {} if args.no_peers else {peer: environment(peer) for peer in PEERS}
    print(f"\n{args.calls:,} calls, {args.concurrency} under way at once, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'latency':>8} {'client':<12} {'calls/s':>9} {'CPU ms/call':>12} {'of bare':>8} {'peak MB':>8}")
    for latency_ms in args.latencies:
        with _stub(latency_s=latency_ms / 1e3) as stub:
            rows: dict[str, list[dict[str, Any]]] = {"bare": [], "ours": []}
            for _ in range(args.repeats):
                for client, found in rows.items():
                    found.append(measure(client, stub.url, args.calls, args.concurrency))
            for peer, python in pythons.items():
                rows[peer] = [measure(peer, stub.url, args.calls, args.concurrency, python=python)]
        rates = {client: statistics.median(r["rate"] for r in found) for client, found in rows.items()}
        # Side by side in time: the ratio of each pair, then the median.
        share = statistics.median(o["rate"] / b["rate"] for o, b in zip(rows["ours"], rows["bare"], strict=True))
        for client, found in rows.items():
            cpu_ms = statistics.median(r["cpu_ms"] for r in found)
            peak_mb = max(r["peak_mb"] for r in found)
            of_bare = share if client == "ours" else rates[client] / rates["bare"]
            print(f"{latency_ms:>5} ms {client:<12} {rates[client]:>9,.0f} {cpu_ms:>12.3f} {of_bare:>7.0%} {peak_mb:>8.0f}", flush=True)
        if latency_ms == 50:
            if share < 0.6:
                missed.append(f"{share:.0%} of the bare loop at 50 ms, the bar is 60 %")
            for peer, times in (("openai", 5), ("distilabel", 10)):
                if peer in rates and rates["ours"] < times * rates[peer]:
                    missed.append(f"{rates['ours'] / rates[peer]:.1f} x {peer} at 50 ms, the bar is {times} x")
    return missed


def memory(args: argparse.Namespace) -> list[str]:
    with _stub() as stub:
        row = measure("stream", stub.url, args.rows, args.concurrency)["result"]
    growth_mb = row["last_mb"] - row["first_mb"]
    rate = args.rows / row["elapsed_s"]
    print(
        f"\n{args.rows:,} calls at 0 ms: resident {row['first_mb']:.0f} MB at call {args.rows // 10:,}, {row['last_mb']:.0f} MB at the end "
        f"(growth {growth_mb:+.1f} MB); call cache {row['file_mb']:.0f} MB ({1e6 * row['file_mb'] / args.rows:.0f} bytes a call), "
        f"{rate:,.0f} durable answers/s",
        flush=True,
    )
    return [f"memory grew by {growth_mb:.0f} MB, the bar is 50 MB"] if growth_mb > 50 else []


def _stub(**settings: Any) -> Any:
    sys.path.insert(0, str(ROOT / "tests"))
    from servers.running import Stub

    return Stub(**settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=6_000)
    parser.add_argument("--concurrency", type=int, default=250)
    parser.add_argument("--latencies", type=int, nargs="+", default=[0, 50, 200], metavar="MS")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=200_000, help="calls of the memory test")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--only", choices=["speed", "memory"])
    parser.add_argument("--child", choices=sorted(CLIENTS), help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.url, args.calls, args.concurrency)
        return
    missed = [] if args.only == "memory" else speed(args)
    missed += [] if args.only == "speed" else memory(args)
    for line in missed:
        print(f"MISSED: {line}")
    print("all bars met" if not missed else f"{len(missed)} bars missed")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
