"""A classroom as a Gymnasium environment (the extra `gym`).

An action says how many rows to write like each seed problem. The observation holds the student's accuracy per skill, which seed problems it
answers rightly, how many rows of every skill it was taught, and the round. The reward is what validation accuracy gained. `info` holds the
full `Observation` under `seen`, for policies that read texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from tutelage.classroom.environment import Classroom, Engine, Observation, S
from tutelage.errors import SettingsError, missing_extra
from tutelage.generate.practice import Order

try:
    import gymnasium
except ModuleNotFoundError:
    raise missing_extra("gymnasium", "gym") from None

Seen = dict[str, Any]
"""Arrays by name."""


class TeachingEnv(gymnasium.Env[Seen, NDArray[np.int64]], Generic[S]):
    """`most_each` rows like one seed problem at most in one step, `most_rows` in all; what an action asks beyond that is scaled down.

    `open_engine` is called at every reset, so that one episode does not know what another one wrote."""

    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012 (as Gymnasium declares it)

    def __init__(
        self,
        room: Classroom[S],
        open_engine: Callable[[], Engine],
        *,
        seed: Sequence[Any],
        most_each: int = 10,
        most_rows: int = 120,
        render_mode: str | None = None,
    ) -> None:
        if most_each < 1 or most_rows < 1:
            raise SettingsError("a step needs rows of at least 1", got=f"{most_each}, {most_rows}")
        self.room, self.render_mode = room, render_mode
        self.skills: tuple[str, ...] = tuple(dict.fromkeys(x.problem.skill for x in seed))
        """The order of skills in observations."""
        self.seed_skill: tuple[int, ...] = tuple(self.skills.index(x.problem.skill) for x in seed)
        """For every seed problem the place of its skill."""
        self._open_engine, self._engine = open_engine, open_engine()
        self._seed, self._most_rows = tuple(seed), most_rows
        spaces = gymnasium.spaces
        self.action_space = spaces.MultiDiscrete([most_each + 1] * len(self._seed))
        self.observation_space = spaces.Dict(
            {
                "accuracy": spaces.Box(0.0, 1.0, (len(self.skills),), dtype=np.float64),
                "seed_right": spaces.MultiBinary(len(self._seed)),
                "rows": spaces.Box(0, np.iinfo(np.int64).max, (len(self.skills),), dtype=np.int64),
                "round": spaces.Box(0, np.iinfo(np.int64).max, (1,), dtype=np.int64),
            }
        )

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Seen, dict[str, Any]]:
        """The student without any new row. The classroom itself is not random: `seed` only seeds the environment's own generator."""
        super().reset(seed=seed)
        self._engine = self._open_engine()
        seen = self.room.reset()
        return self._arrays(seen), {"seen": seen}

    def step(self, action: NDArray[np.int64]) -> tuple[Seen, float, bool, bool, dict[str, Any]]:
        before = self.room.last
        if before is None:
            raise SettingsError("a classroom begins with reset", fix="call reset() before step()")
        rows = self._engine(self.orders(action), before.round)
        seen = self.room.step(rows)
        reward = seen.accuracy - before.accuracy
        return self._arrays(seen), reward, self.room.done, self.room.spent, {"seen": seen, "written": len(rows)}

    def orders(self, action: NDArray[np.int64]) -> list[Order]:
        """What an action asks for, at most `most_rows` in all."""
        from tutelage.select.balance import apportion

        counts = [int(n) for n in action]
        if sum(counts) > self._most_rows:
            counts = apportion(self._most_rows, counts)
        return [Order(skill=x.problem.skill, wanted=n, shown=(x,)) for x, n in zip(self._seed, counts, strict=True) if n > 0]

    def render(self) -> str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One line per skill."""
        seen = self.room.last
        if self.render_mode != "ansi" or seen is None:
            return None
        arrays = self._arrays(seen)
        lines = [f"round {seen.round}, accuracy {seen.accuracy:.3f}, {len(seen.rows)} rows"]
        lines += [
            f"  {skill or 'all'}: accuracy {accuracy:.3f}, {rows} rows"
            for skill, accuracy, rows in zip(self.skills, arrays["accuracy"], arrays["rows"], strict=True)
        ]
        return "\n".join(lines)

    def _arrays(self, seen: Observation) -> Seen:
        accuracy = seen.by_skill
        rows = [sum(x.problem.skill == skill for x in seen.rows) for skill in self.skills]
        return {
            "accuracy": np.array([accuracy.get(skill, 0.0) for skill in self.skills], dtype=np.float64),
            "seed_right": np.array(seen.seed_right, dtype=np.int8),
            "rows": np.array(rows, dtype=np.int64),
            "round": np.array([seen.round], dtype=np.int64),
        }
