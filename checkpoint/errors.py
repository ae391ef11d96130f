"""Every exception and warning that checkpoint raises.

One base class; each error also is the builtin that it specialises, so existing `except` clauses keep working.
The constructor's arguments are the data and travel whole through pickle; `str()` makes the text.

Next: checks.py
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BundleError",
    "BusyFlowError",
    "ChangedFlowError",
    "CheckpointError",
    "CodeChangedWarning",
    "CycleError",
    "DamagedEntryError",
    "DamagedEntryWarning",
    "DamagedSnapshotError",
    "FileChangedError",
    "FlowWarning",
    "FunctionChangedError",
    "MutatedInputError",
    "NotCachedError",
    "StoreError",
    "TaskFailedError",
    "TaskLostError",
    "TaskTimeoutError",
    "UnkeyableError",
    "UnknownSnapshotError",
    "UnknownTaskError",
    "UnsavableError",
    "UnseenCodeWarning",
    "UnstorableError",
]


class CheckpointError(Exception):
    """Base of all errors of this package. `args` is the data given to the constructor."""

    def __init__(self, *args: Any) -> None:
        Exception.__init__(self, *args)  # OSError's would take them for a number and a file name

    def __str__(self) -> str:
        return ": ".join(str(arg) for arg in self.args)


class UnkeyableError(CheckpointError, TypeError):
    """An argument cannot be part of a key.

    Attributes: `where` (the user's call and the path inside the argument), `type_name`, `advice`.
    """

    def __init__(self, where: str, type_name: str, advice: str) -> None:
        super().__init__(where, type_name, advice)
        self.where, self.type_name, self.advice = where, type_name, advice

    def __str__(self) -> str:
        return f"cannot make a key of {self.where}: {self.type_name} has no stable text; {self.advice}"


class CycleError(CheckpointError, ValueError):
    """Tasks require each other in a circle. `path` holds the calls, the first one repeated at the end."""

    def __init__(self, path: tuple[str, ...]) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        shown = self.path if len(self.path) <= 12 else (*self.path[:6], "...", *self.path[-5:])
        return f"tasks require each other in a cycle: {' -> '.join(shown)}; remove one of the requirements on this path"


class UnstorableError(CheckpointError, TypeError):
    """A result cannot be turned into bytes. Attributes: `call`, `where` (path inside the result), `reason`."""

    def __init__(self, call: str, where: str, reason: str) -> None:
        super().__init__(call, where, reason)
        self.call, self.where, self.reason = call, where, reason

    def __str__(self) -> str:
        place = f" at {self.where}" if self.where else ""
        return (
            f"result of {self.call} cannot be stored: {self.reason}{place}; "
            "return plain data (a list instead of a generator, a path instead of an open file)"
        )


class NotCachedError(CheckpointError, KeyError):
    """`.result()` was asked for a call that has no result in the store. `call` is its text."""

    def __init__(self, call: str) -> None:
        super().__init__(call)
        self.call = call

    def __str__(self) -> str:
        return f"{self.call} has no result in the store; compute it with .run()"


class StoreError(CheckpointError, OSError):
    """The store cannot be opened, read or written. Attributes: `folder`, `reason`, `advice`."""

    def __init__(self, folder: str, reason: str, advice: str) -> None:
        super().__init__(folder, reason, advice)
        self.folder, self.reason, self.advice = folder, reason, advice

    def __str__(self) -> str:
        return f"store in {self.folder!r} failed: {self.reason}; {self.advice}"


class DamagedEntryError(CheckpointError, ValueError):
    """The bytes of an entry are not what was written. `reason` says how it shows."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BundleError(CheckpointError, ValueError):
    """A file of exported results cannot be written or read. Attributes: `path`, `reason`, `advice`."""

    def __init__(self, path: str, reason: str, advice: str) -> None:
        super().__init__(path, reason, advice)
        self.path, self.reason, self.advice = path, reason, advice

    def __str__(self) -> str:
        return f"{self.path!r} is no complete export: {self.reason}; {self.advice}"


class FileChangedError(CheckpointError, RuntimeError):
    """A file that a call took as an argument was changed before its result was there. `path` says which."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path} was changed since the call that takes it was made, so the result is not kept; run again"


class FunctionChangedError(CheckpointError, RuntimeError):
    """A function given as an argument is another one in the worker process. `name` says which."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return (
            f"{self.name}, or what it uses, is not the same in the worker process as where it was made an argument; "
            "start a new executor if its file was edited since, and don't rebind at run time what it uses"
        )


class TaskFailedError(CheckpointError, RuntimeError):
    """Stands for a task's exception that could not be sent from the worker.

    Attributes: `type_name` and `message` of the original exception, `traceback_text` of the worker.
    """

    def __init__(self, type_name: str, message: str, traceback_text: str) -> None:
        super().__init__(type_name, message, traceback_text)
        self.type_name, self.message, self.traceback_text = type_name, message, traceback_text

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message} (this exception cannot be pickled)\n{self.traceback_text}"


class TaskLostError(CheckpointError, RuntimeError):
    """The worker that computed a call died. Attributes: `call`, `reason`."""

    def __init__(self, call: str, reason: str) -> None:
        super().__init__(call, reason)
        self.call, self.reason = call, reason

    def __str__(self) -> str:
        return f"{self.call} was lost: {self.reason}"


class TaskTimeoutError(CheckpointError, TimeoutError):
    """A call ran longer than its task's `timeout`. Attributes: `call`, `seconds` (the limit)."""

    def __init__(self, call: str, seconds: float) -> None:
        super().__init__(call, seconds)
        self.call, self.seconds = call, seconds

    def __str__(self) -> str:
        return f"{self.call} was stopped: it ran longer than its timeout of {self.seconds:g} seconds"


class UnknownTaskError(CheckpointError, LookupError):
    """A pickled task is not defined in this process. Attributes: `name`, `token` (identifies the task)."""

    def __init__(self, name: str, token: str) -> None:
        super().__init__(name, token)
        self.name, self.token = name, token

    def __str__(self) -> str:
        return f"task {self.name} is not defined in this process, or not in the same form; import it first"


class MutatedInputError(CheckpointError, RuntimeError):
    """A runner changed a value that it was given. Attributes: `call`, `what` (the value's name)."""

    def __init__(self, call: str, what: str) -> None:
        super().__init__(call, what)
        self.call, self.what = call, what

    def __str__(self) -> str:
        return f"{self.call} changed {self.what}, which it was given; work on a copy and return that"


class UnsavableError(CheckpointError, TypeError):
    """A part of a flow's state cannot be turned into bytes; what was saved before is untouched.

    Attributes: `flow`, `key` (of the part), `reason`.
    """

    def __init__(self, flow: str, key: str, reason: str) -> None:
        super().__init__(flow, key, reason)
        self.flow, self.key, self.reason = flow, key, reason

    def __str__(self) -> str:
        return (
            f"{self.key} of flow {self.flow} cannot be saved: {self.reason}; remove it before the step ends, or "
            "keep plain data in its place (what was saved before is untouched)"
        )


class DamagedSnapshotError(CheckpointError, ValueError):
    """What was saved of a flow is not what was written. Attributes: `place`, `reason`, `advice`."""

    def __init__(self, place: str, reason: str, advice: str) -> None:
        super().__init__(place, reason, advice)
        self.place, self.reason, self.advice = place, reason, advice

    def __str__(self) -> str:
        return f"{self.place} is damaged: {self.reason}; {self.advice}"


class UnknownSnapshotError(CheckpointError, LookupError):
    """There is no such run or snapshot, or no longer. Attributes: `wanted`, `advice`."""

    def __init__(self, wanted: str, advice: str) -> None:
        super().__init__(wanted, advice)
        self.wanted, self.advice = wanted, advice

    def __str__(self) -> str:
        return f"there is no {self.wanted}; {self.advice}"


class ChangedFlowError(CheckpointError, ValueError):
    """A flow that is to be resumed has other steps than the one that was saved.

    Attributes: `flow`, `saved` and `current` (names of the steps), `difference` (in words).
    """

    def __init__(self, flow: str, saved: tuple[str, ...], current: tuple[str, ...], difference: str) -> None:
        super().__init__(flow, saved, current, difference)
        self.flow, self.saved, self.current, self.difference = flow, saved, current, difference

    def __str__(self) -> str:
        return (
            f"flow {self.flow} was saved with the steps {', '.join(self.saved)} and now has "
            f"{', '.join(self.current) or 'none'}: {self.difference}; restore its steps, or run it with "
            'on_change="ignore" to go on by name, or with on_change="restart"'
        )


class BusyFlowError(CheckpointError, RuntimeError):
    """Somebody else runs this flow, or has run it on meanwhile. Attributes: `flow`, `holder` (who, since when)."""

    def __init__(self, flow: str, holder: str) -> None:
        super().__init__(flow, holder)
        self.flow, self.holder = flow, holder

    def __str__(self) -> str:
        return f"flow {self.flow} is being run by {self.holder}; wait for its end, or end it"


class FlowWarning(UserWarning):
    """A flow was asked for something that it doesn't do, and goes on as if it had not been asked."""


class CodeChangedWarning(UserWarning):
    """A result made by an older version of a task's code was used.

    Cure: `task.accept()` if the change is harmless, `task.clear()` to compute again, `on_change="rerun"` to do so by
    itself, or `on_change="ignore"`.
    """


class UnseenCodeWarning(UserWarning):
    """A task uses something whose code cannot be seen, so a change of it goes unnoticed. Given once for each thing.

    Cure: name what it depends on with `depends_on=`, or pin the code with `version=`.
    """


class DamagedEntryWarning(UserWarning):
    """An entry of the store could not be read back; it was set aside and is computed again."""


def name_of(value: Any) -> str:
    """Return a short name of a value for an error text: its type, or its own name for functions and classes."""
    own_name = getattr(value, "__qualname__", None)
    return f"{type(value).__name__} {own_name!r}" if isinstance(own_name, str) else type(value).__name__
