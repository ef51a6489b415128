"""What OpenAI-compatible servers reply, read with suspicion: every field may be missing, null or of another type."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import orjson

from tutelage.backends.answers import Answer, finite
from tutelage.backends.asks import Draw
from tutelage.journal.amounts import Usage, of_calls

_FINISHES = {"stop": "stop", "eos": "stop", "end_turn": "stop", "length": "length", "max_tokens": "length", "content_filter": "refusal"}
_THINK_OPEN, _THINK_CLOSE = "<think>", "</think>"


class Malformed(Exception):
    """The reply is not what the protocol says."""


def read(body: bytes) -> dict[str, Any]:
    try:
        reply = orjson.loads(body)
    except orjson.JSONDecodeError as problem:
        raise Malformed(f"not JSON ({problem}), {len(body)} bytes") from None
    if not isinstance(reply, dict):
        raise Malformed(f"JSON, but not an object: {str(reply)[:80]}")
    if isinstance(reply.get("error"), (dict, str)) and not reply.get("choices"):
        raise Malformed(f"an error with status 200: {error_words(body)[1]}")
    return reply


def error_words(body: bytes) -> tuple[str, str]:
    """(code, message) of an error reply, whatever its form."""
    try:
        reply = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "", body[:300].decode(errors="replace")
    error = reply.get("error", reply) if isinstance(reply, dict) else reply
    if not isinstance(error, dict):
        return "", str(error)[:1000]
    words = error.get("message") or error.get("detail") or error.get("error") or str(error)
    return str(error.get("code") or error.get("type") or ""), str(words)[:1000]


def completions(reply: dict[str, Any], job: Draw) -> tuple[list[Answer], Usage | None]:
    """The answers of a chat or plain completion, at most as many as asked for, and the bill; None where no bill can be read."""
    choices = reply.get("choices")
    if not isinstance(choices, list):
        raise Malformed("no list of choices")
    # Servers may send samples in the order in which they ended.
    numbered = [c for c in choices if isinstance(c, dict)]
    if len(numbered) > 1 and all(isinstance(c.get("index"), int) for c in numbered):
        numbered.sort(key=lambda c: c["index"])
    answers = [_answer(choice, job) for choice in numbered[: job.count]]
    bill = _bill(reply.get("usage"), calls=len(answers))
    if bill is not None and len(answers) == 1:
        answers[0] |= {"prompt_tokens": bill.prompt_tokens, "completion_tokens": bill.completion_tokens}
    elif bill is not None and answers:
        shares = apportion(bill.completion_tokens, [len(a.get("logprobs", a["text"] + (a.get("reasoning") or ""))) for a in answers])
        for answer, share in zip(answers, shares, strict=True):
            answer |= {"prompt_tokens": bill.prompt_tokens, "completion_tokens": share}
    return answers, bill


def _answer(choice: dict[str, Any], job: Draw) -> Answer:
    message = choice.get("message")
    finish = _FINISHES.get(str(choice.get("finish_reason")), "stop")
    reasoning: str | None = None
    if message is None:
        text = choice.get("text")
        if not isinstance(text, str):
            raise Malformed("a choice without text")
    elif isinstance(message, dict):
        text = _text(message.get("content"))
        reasoning = _text(message.get("reasoning_content")) or _text(message.get("reasoning")) or None
        if refusal := _text(message.get("refusal")):
            text, finish = refusal, "refusal"
        if reasoning is None:
            text, reasoning = _without_thoughts(text)
    else:
        raise Malformed("a choice whose message is not an object")
    cut, stopped = cut_at(text, job.sampling.stop)
    row: Answer = {"text": cut, "finish": "stop" if stopped else finish, "prompt_tokens": 0, "completion_tokens": 0}
    if reasoning:
        row["reasoning"] = reasoning
    if job.sampling.logprobs and (logprobs := _logprobs(choice.get("logprobs"))) is not None:
        row["logprobs"] = logprobs
    return row


def _text(content: Any) -> str:
    """Text, or the texts of a list of parts; nothing for null."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str))
    raise Malformed("content is neither text nor a list of parts")


def _without_thoughts(text: str) -> tuple[str, str | None]:
    """Servers without a reasoning parser leave the thoughts in the text; some templates open them in the prompt, and only the end shows."""
    head, closed, rest = text.partition(_THINK_CLOSE)
    if closed and _THINK_OPEN not in head.lstrip().removeprefix(_THINK_OPEN):
        return rest.lstrip("\n"), head.lstrip().removeprefix(_THINK_OPEN).strip("\n")
    if not closed and text.lstrip().startswith(_THINK_OPEN):
        return "", text.lstrip().removeprefix(_THINK_OPEN).strip("\n")
    return text, None


def cut_at(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The text before the earliest stop; some servers leave it in, or do not know stops."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


def _logprobs(found: Any) -> list[float | None] | None:
    if not isinstance(found, dict):
        return None
    rows = found.get("content")
    values = [r.get("logprob") for r in rows if isinstance(r, dict)] if isinstance(rows, list) else found.get("token_logprobs")
    if not isinstance(values, list):
        return None
    numbers = [float(v) for v in values if isinstance(v, (int, float)) and not math.isnan(v)]
    return finite(numbers) if len(numbers) == len(values) else None


def _bill(usage: Any, *, calls: int) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens", 0))
    if prompt is None or completion is None:
        return None
    details, spent = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else _count(usage.get("prompt_cache_hit_tokens"))
    hidden = _count(spent.get("reasoning_tokens")) if isinstance(spent, dict) else None
    return of_calls(calls, prompt, completion, min(cached or 0, prompt), min(hidden or 0, completion))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40 else None


def apportion(whole: int, sizes: Sequence[int]) -> list[int]:
    """Parts of `whole` by size that add up to it: a bill names one number for all samples of a request."""
    if len(sizes) == 1:
        return [whole]
    parts, so_far, given = [], 0, 0
    total = sum(sizes) or len(sizes)
    for size in sizes:
        so_far += size if sum(sizes) else 1
        upto = whole * so_far // total
        parts.append(upto - given)
        given = upto
    return parts


def vectors(reply: dict[str, Any], texts: Sequence[str]) -> tuple[list[Answer], Usage | None]:
    """One vector per text, in the order of the texts."""
    rows = reply.get("data")
    if not isinstance(rows, list) or len(rows) != len(texts):
        raise Malformed(f"{len(rows) if isinstance(rows, list) else 'no'} vectors for {len(texts)} texts")
    found: dict[int, list[float]] = {}
    for place, row in enumerate(rows):
        vector = row.get("embedding") if isinstance(row, dict) else None
        if not isinstance(vector, list) or not vector or not all(isinstance(v, (int, float)) for v in vector):
            raise Malformed("an embedding that is not a list of numbers")
        index = row.get("index", place)
        found[index if isinstance(index, int) else place] = [float(v) for v in vector]
    if set(found) != set(range(len(texts))) or len({len(v) for v in found.values()}) != 1:
        raise Malformed("embeddings with missing numbers or unequal lengths")
    bill = _bill(reply.get("usage"), calls=len(texts))
    shares = apportion(bill.prompt_tokens if bill else 0, [len(t.encode()) for t in texts])
    return [{"vector": found[i], "prompt_tokens": shares[i]} for i in range(len(texts))], bill


def scored_ids(reply: dict[str, Any], head: int, tail: Sequence[int]) -> tuple[Answer | None, Usage | None]:
    """Log-probabilities of the token ids after the first `head`, from `prompt_logprobs`; None where the reply has none."""
    choice = _only_choice(reply)
    rows = choice.get("prompt_logprobs") or reply.get("prompt_logprobs")
    bill = _bill(reply.get("usage"), calls=1)
    if not isinstance(rows, list):
        return None, bill
    if len(rows) != head + len(tail):
        raise Malformed(f"log-probabilities of {len(rows)} tokens for {head + len(tail)}")
    values = []
    for token, row in zip(tail, rows[head:], strict=True):
        entry = row.get(str(token)) if isinstance(row, dict) else None
        value = entry.get("logprob") if isinstance(entry, dict) else entry
        if not isinstance(value, (int, float)):
            raise Malformed(f"no log-probability of token {token}")
        values.append(float(value))
    return {"scored": finite(values), "prompt_tokens": head}, bill


def scored_echo(reply: dict[str, Any], head: int, tail: int) -> tuple[Answer | None, Usage | None]:
    """Log-probabilities of the tokens that lie in the `tail` characters after the first `head`, from an echoed prompt.

    A token that begins before the border and ends after it counts as the text's: its log-probability covers the text's beginning.
    """
    found = _only_choice(reply).get("logprobs")
    bill = _bill(reply.get("usage"), calls=1)
    if not isinstance(found, dict) or not isinstance(found.get("token_logprobs"), list) or not isinstance(found.get("text_offset"), list):
        return None, bill
    offsets, values = found["text_offset"], found["token_logprobs"]
    if len(offsets) != len(values) or not all(isinstance(o, int) for o in offsets) or (offsets and max(offsets) < head and tail):
        return None, bill
    ends = [*offsets[1:], head + tail]
    chosen = [v for start, end, v in zip(offsets, ends, values, strict=True) if end > head and start < head + tail]
    numbers = [float(v) for v in chosen if isinstance(v, (int, float))]
    if len(numbers) != len(chosen):
        raise Malformed("a log-probability that is not a number")
    return {"scored": finite(numbers), "prompt_tokens": sum(end <= head for end in ends)}, bill


def _only_choice(reply: dict[str, Any]) -> dict[str, Any]:
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise Malformed("no choice in the reply")
    return choices[0]
