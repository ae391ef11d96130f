"""State: what a step sees and changes of a context's values, before its changes count.

Must not know: items, runs.

Next: flows/events/work.py
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, final

from checkpoint.flows.events.ledger import Values

__all__ = ["Draft", "Overlay"]

_IMMUTABLE = (type(None), bool, int, float, str, bytes)


@final
class Overlay:
    """Changes to values that others don't see."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._written: dict[str, Any] = {}
        self._read: dict[str, tuple[Any, bytes | None]] = {}
        self._hidden: set[str] = set()

    def __contains__(self, name: object) -> bool:
        is_known = name in self._values and name not in self._hidden
        return name in self._written or name in self._read or is_known

    def __iter__(self) -> Iterator[str]:
        found = dict.fromkeys([*self._values, *self._read, *self._written])
        return iter([name for name in found if name in self])

    def read(self, name: str) -> Any:
        """Return a value: a copy of its own, which is the same object each time."""
        if name in self._written:
            return self._written[name]
        if name in self._read:
            return self._read[name][0]
        value, data = self._values.read(name)
        if data is not None and type(value) not in _IMMUTABLE:
            self._read[name] = value, data
        return value

    def write(self, name: str, value: Any) -> None:
        """Change a value."""
        self._written[name] = value

    def hold(self, name: str, value: Any) -> None:
        """Show another value, without that being a change."""
        self._read[name] = value, self._values.encoded(value)

    def hide(self, name: str) -> None:
        """Show no value."""
        self._hidden.add(name)

    def forget(self, name: str) -> None:
        """Show what the others see."""
        self._written.pop(name, None)
        self._read.pop(name, None)

    def changes(self) -> dict[str, Any]:
        """Return what was written, and what was read and then changed in place."""
        mutated = {
            name: value
            for name, (value, data) in self._read.items()
            if name not in self._written and self._values.encoded(value) != data
        }
        return {**mutated, **self._written}


class Draft:
    """The state inside of `edit_state()`: values by attribute or by item."""

    def __init__(self, overlay: Overlay, defaults: Mapping[str, Any]) -> None:
        vars(self).update(_overlay=overlay, _defaults=defaults)

    def __getitem__(self, name: str) -> Any:
        overlay: Overlay = vars(self)["_overlay"]
        if name not in overlay:
            overlay.hold(name, vars(self)["_defaults"][name])
        return overlay.read(name)

    def __setitem__(self, name: str, value: Any) -> None:
        vars(self)["_overlay"].write(name, value)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the state has no {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __contains__(self, name: object) -> bool:
        return name in vars(self)["_overlay"] or name in vars(self)["_defaults"]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*vars(self)["_overlay"], *vars(self)["_defaults"]]))

    def __repr__(self) -> str:
        return f"Draft({ {name: self[name] for name in self} })"

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value, or a default."""
        try:
            return self[name]
        except KeyError:
            return default
