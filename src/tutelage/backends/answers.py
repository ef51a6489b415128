"""How questions and answers are written down: in keys, in the call cache, in exports."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tutelage.capabilities import Completion, Sampling, TokenScores
from tutelage.errors import InternalError
from tutelage.hashing import canonical
from tutelage.records import Prompt

Call = dict[str, Any]
"""All that could change one answer, as JSON; its digest is the key, and it is stored beside the answer for export and verification."""
Answer = dict[str, Any]
"""One answer as JSON: a completion, scores, or a vector."""


def prompt_json(prompt: Prompt) -> list[list[str]]:
    """The content of a prompt: (role, text) of every turn."""
    return [[m.role, m.content] for m in prompt.messages]


def sampling_json(sampling: Sampling) -> Call:
    """What of the sampling can change an answer: not `n`, and the seed only where something is drawn."""
    row: Call = {"max_tokens": sampling.max_tokens, "temperature": float(sampling.temperature), "stop": list(sampling.stop)}
    if sampling.temperature > 0:
        row |= {"top_p": float(sampling.top_p), "seed": sampling.seed}
    if sampling.logprobs:
        row["logprobs"] = True
    if sampling.schema is not None:
        row["schema"] = sampling.schema
    return row


def write_body(model: str, call: Call, answer: Mapping[str, Any]) -> bytes:
    """What the cache keeps: the answer, the question that hashes to the key, and the model's name for people."""
    return b'{"answer":' + orjson.dumps(answer) + b',"call":' + canonical(call) + b',"model":' + orjson.dumps(model) + b"}"


def read_answer(body: bytes) -> Answer:
    return orjson.loads(body)["answer"]


def completion_json(completion: Completion) -> Answer:
    row: Answer = {
        "text": completion.text,
        "finish": completion.finish,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
    }
    if completion.logprobs is not None:
        row["logprobs"] = finite(completion.logprobs)
    if completion.reasoning is not None:
        row["reasoning"] = completion.reasoning
    if completion.error is not None:
        row["error"] = completion.error
    return row


def completion_from(row: Mapping[str, Any]) -> Completion:
    logprobs = row.get("logprobs")
    return Completion(
        text=row["text"],
        finish=row["finish"],
        prompt_tokens=row["prompt_tokens"],
        completion_tokens=row["completion_tokens"],
        logprobs=None if logprobs is None else _from_finite(logprobs),
        reasoning=row.get("reasoning"),
        error=row.get("error"),
    )


def scores_json(scores: TokenScores) -> Answer:
    return {"scored": finite(scores.logprobs), "prompt_tokens": scores.prompt_tokens}


def scores_from(row: Mapping[str, Any]) -> TokenScores:
    return TokenScores(logprobs=_from_finite(row["scored"]), prompt_tokens=row["prompt_tokens"])


def vector_json(vector: Sequence[float]) -> Answer:
    return {"vector": list(vector)}


def vector_from(row: Mapping[str, Any]) -> tuple[float, ...]:
    return tuple(row["vector"])


def finite(logprobs: Sequence[float]) -> list[float | None]:
    """JSON has no infinity: an impossible token's log-probability is written as null."""
    if any(math.isnan(x) for x in logprobs):
        raise InternalError("back end returned NaN as a log-probability")
    return [None if x == -math.inf else x for x in logprobs]


def _from_finite(logprobs: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(-math.inf if x is None else x for x in logprobs)
