"""Steps: a function with its loader and saver, which of the loaders run, and how two lists of steps differ.

Must not know: handlers, the journal.

Next: flows/linear/parts.py
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, final

from checkpoint.checks import function as check_function

__all__ = ["LoadPolicy", "Step", "difference_between", "loaders_to_run", "place_of", "takes_two"]

State = dict[Any, Any]
Data = dict[Any, Any]
#: Which loaders run: that of the first step that is executed, those of all that are executed, these and before them
#: those of the steps that are skipped, or those of the steps for which a list says so.
LoadPolicy = Literal["first only", "always", "restore"] | list[bool]
_POLICIES = ("first only", "always", "restore")


@final
class Step:
    """A function of a flow. Calling it does what a run does for it: load, compute, save; returns the data.

    Args:
        function: called with state and data, which it changes in place; what it returns is ignored.
        load: called with the state; the dict that it returns is merged into the data.
        save: called with state and data afterwards.
    """

    __name__: str

    def __init__(
        self,
        function: Callable[[State, Data], object],
        load: Callable[[State], Data | None] | None,
        save: Callable[[State, Data], object] | None,
    ) -> None:
        for what, name in ((function, "a step"), (load, "load of a step"), (save, "save of a step")):
            if what is not None or name == "a step":
                check_function(what, name)
        functools.update_wrapper(self, function)
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.function, self.load, self.save = function, load, save

    def __repr__(self) -> str:
        return f"<step {self.__name__}>"

    def __call__(self, state: State, should_load: bool = False, data: Data | None = None) -> Data:
        """Run the loader if asked to, then the function, then the saver; return the data."""
        data = {} if data is None else data
        if not isinstance(data, dict):
            raise TypeError(f"data of step {self.__name__} must be a dict, not {type(data).__name__}")
        if should_load:
            self.load_into(state, data)
        self.function(state, data)
        if self.save is not None:
            self.save(state, data)
        return data

    def load_into(self, state: State, data: Data) -> None:
        """Merge what the loader returns into the data; nothing if there is no loader, or it returns None."""
        loaded = None if self.load is None else self.load(state)
        if loaded is not None:
            data.update(loaded)


def takes_two(function: Any) -> bool:
    """Tell a step, which is called with state and data, from a loader, which is called with the state."""
    try:
        inspect.signature(function).bind(None, None)
    except (TypeError, ValueError):
        return False
    return True


def loaders_to_run(policy: object, start: int, count: int, *, has_data: bool) -> list[bool]:
    """Return for each step whether its loader runs when it is executed.

    Args:
        policy: what the caller gave.
        start: index of the first step that is executed.
        has_data: the data that an earlier run had there were restored.

    Raises:
        TypeError: it is neither the name of a policy nor a list of a bool for each step.
        ValueError: there is no policy of that name.
    """
    if isinstance(policy, str):
        if policy not in _POLICIES:
            raise ValueError(f"load_policy must be one of {', '.join(map(repr, _POLICIES))}, not {policy!r}")
        return [policy != "first only" or (index == start and not has_data) for index in range(count)]
    if type(policy) is not list or len(policy) != count or not all(type(item) is bool for item in policy):
        raise TypeError(f"load_policy must be a name or a list of {count} bools, one for each step, not {policy!r}")
    return policy


def difference_between(saved: Sequence[str], current: Sequence[str]) -> str:
    """Return in words how the names of steps differ; "" if they don't."""
    if list(saved) == list(current):
        return ""
    missing = [repr(name) for name in saved if name not in current]
    added = [repr(name) for name in current if name not in saved]
    said = [f"{', '.join(missing)} missing"] if missing else []
    said += [f"{', '.join(added)} new"] if added else []
    return " and ".join(said) or "their order has changed"


def place_of(saved: Sequence[str], completed: int, current: Sequence[str]) -> int:
    """Return where to go on in a changed list: at the first step that was still to come, else after the last one."""
    for name in saved[completed:]:
        if name in current:
            return list(current).index(name)
    return max((list(current).index(name) + 1 for name in saved[:completed] if name in current), default=0)
