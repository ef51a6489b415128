"""What a technique is; see `techniques` for the general ones, tasks for their own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Technique:
    """One way of asking for a rationale (the paper's hand-written reasoning-technique prompts)."""

    name: str
    instruction: str
    """Sentences put into the prompt for instruction followers; models raised on their own dialect get the name as a cue."""
