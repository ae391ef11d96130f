"""Event: what steps take and return: a pydantic model that also carries any other keyword.

Declared fields are validated when an event is made. Other keywords are kept beside them and read as attributes or as
items; the dict-like methods know only those.

Must not know: steps, workflows.

Next: flows/events/retry.py
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import Any

from pydantic import BaseModel, ConfigDict, PrivateAttr, SerializerFunctionWrapHandler, model_serializer

__all__ = ["Event", "HumanResponseEvent", "InputRequiredEvent", "StartEvent", "StopEvent"]


class Event(BaseModel):
    """The base class of events.

    Args:
        values: fields that the class declares, and whatever else the event is to carry.

    Raises:
        pydantic.ValidationError: a declared field is missing or of another type.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)
    _data: dict[str, Any] = PrivateAttr(default_factory=dict)

    def __init__(self, **values: Any) -> None:
        known = type(self)._keywords()
        extra = {**values.pop("_data", {}), **{name: value for name, value in values.items() if name not in known}}
        super().__init__(**{name: value for name, value in values.items() if name in known})
        self._data.update(extra)

    @classmethod
    def _keywords(cls) -> set[str]:
        aliases = {str(field.alias) for field in cls.model_fields.values() if field.alias is not None}
        return set(cls.model_fields) | aliases

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in type(self).__private_attributes__:
            return super().__getattr__(name)  # type: ignore[misc]  # pydantic hides it from type checkers
        if name in self._data:
            return self._data[name]
        raise AttributeError(f"{type(self).__name__} has no {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if (
            name in type(self).model_fields
            or name.startswith("_")
            or isinstance(getattr(type(self), name, 0), property)
        ):
            super().__setattr__(name, value)
        else:
            self._data[name] = value

    def __getitem__(self, name: str) -> Any:
        return self._data[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._data[name] = value

    def __contains__(self, name: object) -> bool:
        return name in self._data

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]  # the keys of what is not declared
        return iter(self._data)

    def __bool__(self) -> bool:
        return True

    def get(self, name: str, default: Any = None) -> Any:
        """Return an undeclared keyword, or a default."""
        return self._data.get(name, default)

    def keys(self) -> KeysView[str]:
        """Return the names of the undeclared keywords."""
        return self._data.keys()

    def values(self) -> ValuesView[Any]:
        """Return the undeclared keywords' values."""
        return self._data.values()

    def items(self) -> ItemsView[str, Any]:
        """Return the undeclared keywords with their values."""
        return self._data.items()

    def dict(self, **_: Any) -> dict[str, Any]:
        """Return the undeclared keywords as a dict."""
        return dict(self._data)

    @model_serializer(mode="wrap")
    def _dumped(self, dump: SerializerFunctionWrapHandler) -> Any:
        return {**dump(self), "_data": dict(self._data)}


class StartEvent(Event):
    """What a run begins with; it carries the keywords of `run()`."""

    def __init__(self, **values: Any) -> None:  # tells type checkers that it takes any keyword
        super().__init__(**values)


class StopEvent(Event):
    """What ends a run; `result` is what the run returns. A subclass is itself the result."""

    result: Any = None

    def __init__(self, result: Any = None, **values: Any) -> None:
        super().__init__(result=result, **values)


class InputRequiredEvent(Event):
    """What a step returns to ask a person; no step has to take it. It is written to the stream."""

    def __init__(self, **values: Any) -> None:  # tells type checkers that it takes any keyword
        super().__init__(**values)


class HumanResponseEvent(Event):
    """What a person answers, with `handler.ctx.send_event(...)`; no step has to return it."""

    def __init__(self, **values: Any) -> None:  # tells type checkers that it takes any keyword
        super().__init__(**values)
