"""Upper bounds of token counts, for the worst case of a bill: no tokenizer makes more tokens than a text has bytes."""

from __future__ import annotations

from tutelage.records import Prompt

TURN_TOKENS = 16
FRAME_TOKENS = 64
"""Role markers around a turn; a template's own opening (some add a date or a standing instruction)."""


def most_tokens(text: str) -> int:
    return len(text.encode())


def most_prompt_tokens(prompt: Prompt) -> int:
    """With whatever a chat template may put around the turns."""
    return FRAME_TOKENS + sum(most_tokens(m.content) + TURN_TOKENS for m in prompt.messages)
