"""A local OpenAI-compatible server that misbehaves on request. Run as a program; the first line it prints is its base URL.

    python tests/servers/stub.py '{"latency_s": 0.05, "rate_429": 0.1}'

Answers are functions of the question (messages, seed, sample), so any order of asking gives the same data. GET /stub/bill says what was
asked, delivered and billed; POST /stub/settings changes the settings. It listens on 127.0.0.1 only.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import re
import ssl
import sys
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

MODEL = "stub-model"
REASONS = {
    200: "OK",
    302: "Found",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Server Error",
}


@dataclass(frozen=True)
class Settings:
    latency_s: float = 0.0
    latency: str = "fixed"
    """fixed, exponential (mean latency_s) or lognormal (median latency_s, sigma 1)."""
    rate_429: float = 0.0
    retry_after: str | None = None
    """Value of the header with every 429."""
    rate_500: float = 0.0
    rate_stall: float = 0.0
    stall_s: float = 30.0
    rate_truncated: float = 0.0
    """The body ends before its Content-Length."""
    rate_malformed: float = 0.0
    """A whole body that is not JSON."""
    rate_usage: float = 0.0
    """Usage that is missing or nonsense."""
    rate_reset: float = 0.0
    """The connection is cut after the work was done."""
    crash_after: int | None = None
    """The process ends at this request without a word."""
    key: str | None = None
    """Requests with another key get 401, with the key they sent in the message."""
    answer_words: int = 8
    cached_tokens: int = 0
    most_at_once: int | None = None
    """More concurrent requests than this get 429."""
    html: bool = False
    redirect: bool = False
    tokenizer: bool = True
    echo: bool = True
    text_blob: str = ""
    seed: int = 0


@dataclass
class Bill:
    requests: int = 0
    delivered: int = 0
    """Completions (or vectors, or scores) written out whole."""
    delivered_tokens: int = 0
    whole: int = 0
    """The same, and those that were made and then stalled, cut or reset."""
    whole_tokens: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    """Per question, how often it was answered whole."""
    peak: int = 0
    seeds: int = 0

    def as_json(self) -> dict[str, Any]:
        again = sum(count - 1 for count in self.asked.values() if count > 1)
        row = {
            name: getattr(self, name) for name in ("requests", "delivered", "delivered_tokens", "whole", "whole_tokens", "statuses", "peak")
        }
        return row | {"questions": len(self.asked), "answered_again": again}


def tokens_of(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


def token_id(token: str) -> int:
    return int.from_bytes(hashlib.blake2b(token.encode(), digest_size=3).digest(), "big")


def logprob(before: int | None, token: int) -> float:
    return -((token + 31 * (before or 0)) % 997) / 100 - 0.001


def words_for(question: Any, count: int) -> str:
    seed = int.from_bytes(hashlib.blake2b(orjson.dumps(question), digest_size=8).digest(), "big")
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("abcdefghijklmnop", k=5)) for _ in range(count))


class Server:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.bill = Bill()
        self.rng = random.Random(settings.seed)
        self.now = 0

    def route(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], Any]:
        if path == "/stub/bill":
            return 200, {}, self.bill.as_json()
        if path == "/stub/settings":
            self.settings = replace(self.settings, **json.loads(body))
            return 200, {}, {}
        if path == "/stub/reset":
            self.bill = Bill()
            return 200, {}, {}
        if self.settings.redirect:
            return 302, {"Location": "http://127.0.0.1:1/v1"}, {}
        sent = headers.get("authorization", "").removeprefix("Bearer ")
        if self.settings.key is not None and sent != self.settings.key:
            return 401, {}, {"error": {"message": f"Incorrect API key provided: {sent}.", "code": "invalid_api_key"}}
        if path == "/v1/models":
            return 200, {}, {"object": "list", "data": [{"id": MODEL, "object": "model"}, {"id": "other-model", "object": "model"}]}
        makers = {
            "/v1/chat/completions": self.chat,
            "/v1/completions": self.complete,
            "/v1/embeddings": self.embed,
            "/tokenize": self.tokenize,
        }
        if path not in makers or (path == "/tokenize" and not self.settings.tokenizer):
            return 404, {}, {"detail": "Not Found"}
        asked = orjson.loads(body)
        if asked.get("model") != MODEL:
            return 404, {}, {"error": {"message": f"The model `{asked.get('model')}` does not exist", "code": "model_not_found"}}
        return makers[path](asked)

    def chat(self, asked: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        messages = asked["messages"]
        text = messages[-1]["content"] if len(messages) < 2 else " ".join(m["content"] for m in messages)
        if refusal := self.special(text):
            return refusal
        question = [[m["role"], m["content"]] for m in messages]
        count = 1 if "[[fewer]]" in text else asked.get("n", 1)
        choices = []
        for index in range(0 if "[[empty]]" in text else count):
            message: dict[str, Any] = {"role": "assistant", "content": self.answer(question, asked, index, text)}
            if "[[refuse]]" in text:
                message |= {"content": None, "refusal": "I would rather not."}
            if "[[think]]" in text:
                message["reasoning_content"] = "first this, then that"
            if "[[tags]]" in text:
                message["content"] = "<think>\nfirst this\n</think>\n\n" + message["content"]
            if "[[parts]]" in text:
                message["content"] = [{"type": "text", "text": message["content"]}]
            choice = {"index": index, "message": message, "finish_reason": "content_filter" if "[[filtered]]" in text else "stop"}
            if asked.get("logprobs"):
                choice["logprobs"] = {
                    "content": [{"token": t, "logprob": logprob(None, token_id(t))} for t in tokens_of(str(message["content"]))]
                }
            choices.append(choice)
        prompt = sum(len(tokens_of(m["content"])) + 3 for m in messages)
        return self.reply(asked, question, choices, prompt, [str(c["message"]["content"]) for c in choices])

    def special(self, text: str) -> tuple[int, dict[str, str], Any] | None:
        if "[[overflow]]" in text:
            return 400, {}, {"error": {"message": "This model's maximum context length is 4096 tokens.", "code": "context_length_exceeded"}}
        if "[[filter]]" in text:
            return 400, {}, {"error": {"message": "The response was filtered.", "code": "content_filter"}}
        if "[[400]]" in text:
            return 400, {}, {"error": {"message": "Unsupported value: 'temperature'", "code": "unsupported_value"}}
        if "[[500]]" in text:
            return 500, {}, {"error": {"message": "internal error"}}
        if "[[quota]]" in text:
            return 429, {}, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
        return None

    def answer(self, question: Any, asked: dict[str, Any], index: int, text: str) -> str:
        if found := re.search(r"\[\[json (\d+)\]\]", text):
            said = sum(m["role"] == "assistant" for m in asked["messages"])
            return '{"answer": 7}' if said >= int(found.group(1)) else '{"answer": "seven"}'
        if "[[stop]]" in text:
            return "before STOP after"
        seed = asked.get("seed") if asked.get("temperature", 1) > 0 else None
        return words_for(
            [question, seed, index], min(self.settings.answer_words, asked.get("max_tokens") or asked["max_completion_tokens"])
        )

    def complete(self, asked: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        prompt = asked["prompt"]
        ids = prompt if isinstance(prompt, list) else [token_id(t) for t in tokens_of(prompt)]
        if "prompt_logprobs" in asked or asked.get("echo"):
            return self.scored(asked, prompt, ids)
        if refusal := self.special(prompt):
            return refusal
        texts = [" " + self.answer(prompt, asked, index, prompt) for index in range(asked.get("n", 1))]
        choices: list[dict[str, Any]] = [{"index": i, "text": text, "finish_reason": "length"} for i, text in enumerate(texts)]
        if asked.get("logprobs"):
            for choice in choices:
                choice["logprobs"] = {"token_logprobs": [logprob(None, token_id(t)) for t in tokens_of(choice["text"])]}
        return self.reply(asked, prompt, choices, len(ids), texts)

    def scored(self, asked: dict[str, Any], prompt: Any, ids: list[int]) -> tuple[int, dict[str, str], Any]:
        before: list[int | None] = [None, *ids[:-1]]
        values = [None, *(logprob(b, i) for b, i in zip(before[1:], ids[1:], strict=True))]
        choice: dict[str, Any] = {"index": 0, "text": "x", "finish_reason": "length"}
        if "prompt_logprobs" in asked and self.settings.tokenizer:
            choice["prompt_logprobs"] = [v if v is None else {str(i): {"logprob": v, "rank": 1}} for i, v in zip(ids, values, strict=True)]
        if asked.get("echo") and self.settings.echo:
            tokens = [*tokens_of(prompt), " x"]
            offsets = [sum(map(len, tokens[:i])) for i in range(len(tokens))]
            choice["logprobs"] = {"tokens": tokens, "token_logprobs": [*values, -1.0], "text_offset": offsets}
        return self.reply(asked, prompt, [choice], len(ids), ["x"])

    def tokenize(self, asked: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        text = asked.get("prompt")
        if text is None:
            text = "".join(f"<{m['role']}> {m['content']} " for m in asked["messages"]) + "<assistant>"
        return 200, {}, {"tokens": [token_id(t) for t in tokens_of(text)]}

    def embed(self, asked: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        rows = [
            {"index": i, "embedding": [random.Random(text).random() for _ in range(4)], "object": "embedding"}
            for i, text in enumerate(asked["input"])
        ]
        prompt = sum(len(tokens_of(t)) for t in asked["input"])
        status, headers, reply = self.reply(asked, asked["input"], rows, prompt, [])
        return status, headers, {"data": list(reversed(rows)), "usage": reply["usage"]} if status == 200 else reply

    def reply(self, asked: Any, question: Any, choices: list[Any], prompt: int, texts: list[str]) -> tuple[int, dict[str, str], Any]:
        completion = sum(len(tokens_of(t)) for t in texts)
        usage: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        if self.settings.cached_tokens:
            usage["prompt_tokens_details"] = {"cached_tokens": self.settings.cached_tokens}
            usage["completion_tokens_details"] = {"reasoning_tokens": 2}
        name = hashlib.blake2b(orjson.dumps([question, asked.get("seed"), asked.get("n")]), digest_size=8).hexdigest()
        body = {"id": name, "object": "chat.completion", "model": MODEL, "choices": choices, "usage": usage}
        return (
            200,
            {"x-calls": str(max(1, len(choices))), "x-tokens": str(prompt + completion)},
            body | ({"blob": self.settings.text_blob} if self.settings.text_blob else {}),
        )

    def delay_s(self) -> float:
        mean = self.settings.latency_s
        if self.settings.latency == "exponential":
            return self.rng.expovariate(1 / mean) if mean else 0.0
        return mean * self.rng.lognormvariate(0, 1) if self.settings.latency == "lognormal" else mean

    def fault(self) -> str:
        """One draw decides the fate of a request."""
        settings, draw = self.settings, self.rng.random()
        for name in ("429", "500", "stall", "truncated", "malformed", "usage", "reset"):
            draw -= getattr(settings, f"rate_{name}")
            if draw < 0:
                return name
        return ""


class Connection(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self.server = server
        self.buffer = b""
        self.transport: asyncio.Transport | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self.tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            head, end, rest = self.buffer.partition(b"\r\n\r\n")
            if not end:
                return
            lines = head.decode("latin1").split("\r\n")
            headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
            length = int(headers.get("content-length", 0))
            if len(rest) < length:
                return
            body, self.buffer = rest[:length], rest[length:]
            method, path, _ = lines[0].split(" ")
            self.handle(method, path, headers, body)

    def handle(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        server, settings = self.server, self.server.settings
        if path.startswith("/stub/") or method == "GET":
            self.write(*server.route(method, path, headers, body))
            return
        server.bill.requests += 1
        if settings.crash_after is not None and server.bill.requests > settings.crash_after:
            os._exit(9)
        server.now += 1
        server.bill.peak = max(server.bill.peak, server.now)
        delay_s = server.delay_s()
        if delay_s <= 0 and settings.rate_stall == 0:
            self.finish(method, path, headers, body, server.fault())
            return
        task = asyncio.get_running_loop().create_task(self.later(delay_s, method, path, headers, body))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def later(self, delay_s: float, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        fault = self.server.fault()
        try:
            if fault == "stall":
                # The work is done and billed; only its delivery never comes.
                _, extra, _ = self.server.route(method, path, headers, body)
                self.count(extra, "", delivered=False)
                await asyncio.sleep(self.server.settings.stall_s)
                self.transport.abort()  # pyright: ignore[reportOptionalMemberAccess]
                self.server.now -= 1
                return
            await asyncio.sleep(delay_s)
        except asyncio.CancelledError:
            self.server.now -= 1
            raise
        self.finish(method, path, headers, body, fault)

    def finish(self, method: str, path: str, headers: dict[str, str], body: bytes, fault: str) -> None:
        server, settings = self.server, self.server.settings
        busy = settings.most_at_once is not None and server.now > settings.most_at_once
        server.now -= 1
        if fault == "429" or busy:
            extra = {"Retry-After": settings.retry_after} if settings.retry_after is not None else {}
            self.write(429, extra, {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}})
            return
        if fault == "500":
            self.write(500, {}, {"error": {"message": "The server had an error"}})
            return
        if settings.html:
            self.write(200, {}, "<!DOCTYPE html><html><body>Please log in</body></html>")
            return
        status, extra, reply = server.route(method, path, headers, body)
        if status != 200 or "x-calls" not in extra:
            self.write(status, extra, reply)
            return
        if fault == "usage":
            reply["usage"] = server.rng.choice([None, {}, {"prompt_tokens": -5, "completion_tokens": "many"}, {"prompt_tokens": None}])
        name = str(reply.get("id", ""))
        if fault == "reset" or self.transport is None or self.transport.is_closing():
            self.count(extra, name, delivered=False)
            if self.transport is not None:
                self.transport.abort()
        elif fault == "truncated":
            self.count(extra, name, delivered=False)
            whole = orjson.dumps(reply)
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(whole) + whole[: len(whole) // 2]
            )
            self.transport.close()
        elif fault == "malformed":
            self.count(extra, name, delivered=False)
            whole = orjson.dumps(reply)
            self.write(200, {}, whole[: len(whole) // 2])
        else:
            self.count(extra, name, delivered=True)
            self.write(200, extra, reply)

    def count(self, extra: dict[str, str], name: str, *, delivered: bool) -> None:
        bill, calls, tokens = self.server.bill, int(extra.get("x-calls", 0)), int(extra.get("x-tokens", 0))
        bill.whole += calls
        bill.whole_tokens += tokens
        if delivered:
            bill.delivered += calls
            bill.delivered_tokens += tokens
            bill.asked[name] = bill.asked.get(name, 0) + 1

    def write(self, status: int, extra: dict[str, str], reply: Any) -> None:
        bill = self.server.bill
        bill.statuses[str(status)] = bill.statuses.get(str(status), 0) + 1
        if self.transport is None or self.transport.is_closing():
            return
        kind = "text/html" if isinstance(reply, str) else "application/json"
        body = reply.encode() if isinstance(reply, str) else reply if isinstance(reply, bytes) else orjson.dumps(reply)
        lines = "".join(f"{k}: {v}\r\n" for k, v in extra.items())
        head = f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
        self.transport.write(head.encode() + body)


async def serve(settings: Settings, *, port: int = 0, context: ssl.SSLContext | None = None) -> None:
    server = Server(settings)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Connection(server), "127.0.0.1", port, backlog=2048, ssl=context)
    host, port = listener.sockets[0].getsockname()[:2]
    print(f"{'https' if context else 'http'}://{host}:{port}/v1", flush=True)
    await listener.serve_forever()


def main() -> None:
    given = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    port, certificate = given.pop("port", 0), given.pop("certificate", None)
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    try:
        asyncio.run(serve(Settings(**given), port=port, context=context))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
