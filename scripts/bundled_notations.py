"""Models for the question whether the student decides: a teacher that writes the steps in two notations, and students raised on one each.

    python scripts/pretrain_bundled.py --which notation-teacher --out DIR                 # the bundled teacher, taught the second notation
    python scripts/pretrain_bundled.py --which steps-student --lineage 1 --out DIR        # knows key-first steps
    python scripts/pretrain_bundled.py --which before-student --lineage 1 --out DIR       # knows state-first steps

The students' diets are mirror images. A student meets its own notation right, and the other one garbled: the form with states drawn by
lot. So it knows how the other looks and not what it says. This is an upbringing put in on purpose; nothing of it is told to the teacher.
"""

from __future__ import annotations

from dataclasses import replace

from bundled_training import Build
from tutelage.tasks.folds_documents import Diet

NOTATION_MODES = ("cue:before", "shot:before")
_BOTH = {"steps": 0.5, "before": 0.5}

NOTATION_TEACHER = Build(
    width=96,
    layers=4,
    heads=4,
    inner=256,
    begin="teacher",
    steps=500,
    muon_lr=4e-3,
    adam_lr=2.4e-3,
    decay=0.5,
    diet=Diet(
        target_share=0.6,
        plain=_BOTH,
        shown={"steps": 0.4, "before": 0.4, "terse": 0.1, "posthoc": 0.1},
        cued={"steps": 0.4, "before": 0.4, "terse": 0.1, "posthoc": 0.1},
    ),
    modes=NOTATION_MODES,
)


def _diet(own: str, other: str, target_share: float) -> Diet:
    return Diet(
        target_share=target_share,
        plain={own: 0.1, "terse": 0.6, "posthoc": 0.3},
        shown={own: 0.5, f"garbled_{other}": 0.2, "terse": 0.15, "posthoc": 0.15},
        cued={own: 0.7, "terse": 0.15, "posthoc": 0.15},
    )


def _student(own: str, other: str) -> Build:
    return Build(
        width=64,
        layers=3,
        heads=4,
        inner=176,
        steps=800,
        diet=_diet(own, other, 0.1),
        more_steps=800,
        more_diet=_diet(own, other, 0.5),
        own=own,
        modes=NOTATION_MODES,
    )


STEPS_STUDENT, BEFORE_STUDENT = _student("steps", "before"), _student("before", "steps")
NOTATION_BUILDS = {"notation-teacher": NOTATION_TEACHER, "steps-student": STEPS_STUDENT, "before-student": BEFORE_STUDENT}
"""The recorded students and teacher."""


def _unmet(build: Build, other: str) -> Build:
    """The same without a trace of the other notation."""
    without = {
        name: replace(diet, shown={k: v for k, v in diet.shown.items() if k != f"garbled_{other}"})
        for name in ("diet", "more_diet")
        if (diet := getattr(build, name)) is not None
    }
    return replace(build, **without)


NOTATION_BUILDS |= {
    "steps-student-unmet": _unmet(STEPS_STUDENT, "before"),
    "before-student-unmet": _unmet(BEFORE_STUDENT, "steps"),
}
