"""A policy of one's own for the teaching environment: rows go to the weakest skill, spread over its seed problems that are still missed.

    pip install 'tutelage[gym]'
    python examples/teaching_policy.py

It plays one short episode on the bundled world and prints what every round brought. To learn a policy instead, hand `env` to anything that
takes a Gymnasium environment.
"""

import sys
import tempfile

import numpy as np

from tutelage.experiments.teaching import teaching_env


class WeakestSkill:
    """Ten rows for the skill with the lowest accuracy."""

    def __init__(self, env, rows=10):
        self.env, self.rows = env, rows

    def act(self, seen):
        action = np.zeros(self.env.action_space.shape, dtype=np.int64)
        weakest = int(np.argmin(seen["accuracy"]))
        places = [i for i, skill in enumerate(self.env.seed_skill) if skill == weakest]
        missed = [i for i in places if not seen["seed_right"][i]] or places
        for turn in range(self.rows):
            action[missed[turn % len(missed)]] += 1
        return np.minimum(action, self.env.action_space.nvec - 1)


def main(out, rounds=2, **given):
    with teaching_env(
        task="folds/*", teacher="bundled:teacher", student="bundled:student", out=out, settings={"rounds": rounds, **given}
    ) as env:
        policy = WeakestSkill(env)
        seen, _ = env.reset()
        over = False
        while not over:
            seen, reward, done, spent, info = env.step(policy.act(seen))
            over = done or spent
            shown = ", ".join(f"{s} {a:.2f}" for s, a in zip(env.skills, seen["accuracy"], strict=True))
            print(f"round {seen['round'][0]}: {info['written']} rows, reward {reward:+.3f}; {shown}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
