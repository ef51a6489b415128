"""Reading the options a task is opened with: unknown names and wrong types are refused, with the way out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.errors import SettingsError, did_you_mean


class Options:
    """What the user set, handed out once each by type; `done` refuses what nobody asked for."""

    def __init__(self, task: str, given: Mapping[str, Any]) -> None:
        self._task = task
        self._given = dict(given)
        self._known: list[str] = []

    def text(self, name: str, default: str | None = None) -> str | None:
        value = self._take(name, default)
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, value, "text")
        return value

    def whole(self, name: str, default: int | None = None, *, least: int = 0) -> int | None:
        value = self._take(name, default)
        if isinstance(value, str) and value.lstrip("-").isdigit():
            value = int(value)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise self._wrong(name, value, f"a whole number of at least {least}")
        return value

    def share(self, name: str, default: float) -> float:
        """A number from 0 to 1; `5%` is read as 0.05."""
        value = self._take(name, default)
        if isinstance(value, str):
            try:
                value = float(value.rstrip("%")) / (100 if value.endswith("%") else 1)
            except ValueError:
                raise self._wrong(name, value, "a share from 0 to 1") from None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise self._wrong(name, value, "a share from 0 to 1")
        return float(value)

    def one_of(self, name: str, known: tuple[str, ...], default: str | None = None) -> str | None:
        value = self.text(name, default)
        if value is not None and value not in known:
            raise SettingsError(f"option '{name}' of task '{self._task}' has no value '{value}'", got=value, fix=did_you_mean(value, known))
        return value

    def done(self) -> None:
        unknown = sorted(set(self._given) - set(self._known))
        if unknown:
            raise SettingsError(
                f"task '{self._task}' has no option '{unknown[0]}'", got=unknown[0], fix=did_you_mean(unknown[0], self._known)
            )

    def _take(self, name: str, default: Any) -> Any:
        self._known.append(name)
        value = self._given.get(name)
        return default if value is None else value

    def _wrong(self, name: str, value: object, wanted: str) -> SettingsError:
        return SettingsError(f"option '{name}' of task '{self._task}' must be {wanted}", got=repr(value))
