"""Log-probabilities of given text from endpoints: by token ids (vLLM, SGLang), or from completions that echo their prompt."""

from __future__ import annotations

from typing import Any

import orjson

from tutelage.backends import replies
from tutelage.backends.address import Address
from tutelage.backends.asks import Ask, Outcome, Rate
from tutelage.backends.line import Line
from tutelage.backends.refusals import ABSENT, Refusals
from tutelage.backends.replies import Malformed
from tutelage.errors import CapabilityError


async def rate(ask: Ask, job: Rate, *, address: Address, line: Line, refusals: Refusals) -> Outcome:
    """One attempt. The prompt's tokens and the text's are made apart and put together."""
    payload: dict[str, Any] = {"model": address.model, "max_tokens": 1, "temperature": 0}
    head: list[int] = []
    tail: list[int] = []
    if address.score == "ids":
        if ask.state is None:
            messages = [{"role": m.role, "content": m.content} for m in job.prompt.messages]
            asked = {"messages": messages, "add_generation_prompt": True} if address.api == "chat" else {"prompt": job.prompt.text}
            ask.state = (
                await _token_ids(asked, address=address, line=line, where=refusals.where),
                await _token_ids({"prompt": job.text, "add_special_tokens": False}, address=address, line=line, where=refusals.where),
            )
        head, tail = ask.state
        payload |= {"prompt": head + tail, "prompt_logprobs": 0}
    else:
        payload |= {"prompt": job.prompt.text + job.text, "echo": True, "logprobs": 1}
    status, headers, body = await line.post("/completions", payload)
    if status != 200:
        return refusals.of_status(ask, status, headers, body, served=await line.models() if status in ABSENT else ())
    try:
        reply = replies.read(body)
        if address.score == "ids":
            answer, bill = replies.scored_ids(reply, len(head), tail)
        else:
            answer, bill = replies.scored_echo(reply, len(job.prompt.text), len(job.text))
    except Malformed as problem:
        return refusals.of_nonsense(ask, body, str(problem))
    if answer is None:
        wanted = "prompt_logprobs" if address.score == "ids" else "log-probabilities with echo"
        error = CapabilityError(
            f"endpoint {refusals.where} answers completions, but without {wanted}", got=f"score={address.score}",
            fix="serve the model with vLLM and use ?score=ids, or use hf: for this role",
        )  # fmt: skip
        return Outcome(ask=ask, fatal=error, bill=bill)
    return Outcome(ask=ask, answers=[answer], bill=bill)


async def _token_ids(asked: dict[str, Any], *, address: Address, line: Line, where: str) -> list[int]:
    status, _, body = await line.post("/tokenize", {"model": address.model, **asked}, base=address.base.removesuffix("/v1"))
    try:
        if status == 200:
            return [int(i) for i in orjson.loads(body)["tokens"]]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        pass
    raise CapabilityError(
        f"endpoint {where} has no /tokenize, which score=ids needs", got=f"HTTP {status}",
        fix="use ?score=echo where its completions echo log-probabilities, or hf: for this role",
    )  # fmt: skip
