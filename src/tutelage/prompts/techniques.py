"""General reasoning-technique instructions, for tasks that bring none of their own.

ARTE Sec. 3.1 and App. H name the kinds; the wording is ours.
"""

from __future__ import annotations

from tutelage.prompts.technique import Technique

GENERAL: tuple[Technique, ...] = (
    Technique(
        name="expert",
        instruction=(
            "You are an expert in problems of this kind. Work in this order: restate what is asked, list what is given, "
            "work through it one step at a time, check the result against the question."
        ),
    ),
    Technique(name="rules", instruction="First recall the rules or facts that decide problems of this kind. Then apply them step by step."),
    Technique(name="bare", instruction="Solve the following problem."),
    Technique(
        name="test",
        instruction="Treat this as a question in a test: read it closely, rule out what cannot be, decide, and say why in a few words.",
    ),
)
