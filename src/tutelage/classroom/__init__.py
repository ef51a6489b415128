"""Teaching as an environment: a policy sees how the student does, orders training rows, and is rewarded by what the student gains.

`environment` is the classroom itself, `policies` are ways of acting in it, `gym` is its face to Gymnasium (the extra `gym`).
"""

from tutelage.classroom.environment import Classroom, Observation, Policy, open_classroom, run_episode
from tutelage.classroom.policies import Alternating, BalancedFill, LookAlikes, Nothing, Random, SkillList, WeakestErrors

__all__ = [
    "Alternating",
    "BalancedFill",
    "Classroom",
    "LookAlikes",
    "Nothing",
    "Observation",
    "Policy",
    "Random",
    "SkillList",
    "WeakestErrors",
    "open_classroom",
    "run_episode",
]
