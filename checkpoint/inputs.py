"""Inputs: the values that a runner takes: read from the store, handed on from a moment ago, or computed here.

Must not know: plans, batches, how it was asked.

Next: batch.py
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from types import MappingProxyType
from typing import Any, NamedTuple, final

from checkpoint import codec
from checkpoint.errors import DamagedEntryError
from checkpoint.graph import Instance, Runner, with_values
from checkpoint.inside import Place, inside
from checkpoint.store import Store, open_store
from checkpoint.values import load
from checkpoint.version import (
    NO_BASIS,
    address_of,
    basis_of,
    edition_of,
    generation_of,
    mark_of,
    row_of,
    unstored_digest_of,
    version_of,
)

__all__ = ["Inputs", "Made", "awaited", "unstored_value"]

_NOTHING: Mapping[Any, Any] = MappingProxyType({})


class Made(NamedTuple):
    """A result that was computed here before. `value` is the value itself where it is small and can't be changed."""

    row: str
    version: bytes
    value: Any


#: Stands for a value that a consumer must decode anew, as another one might change it.
ENCODED = object()
SMALL_BYTES = 1024
MOST_MADE = 100_000


@final
class Inputs:
    """The values that one runner needs, and the versions they have. Instances that aren't stored are computed here."""

    def __init__(self, store: Store, editions: Mapping[bytes, str], made: Mapping[Instance, Made] = _NOTHING) -> None:
        self.values: dict[Instance, Any] = {}
        self.versions: dict[Instance, bytes] = {}
        #: Versions of what the runner requires, in its order, and their hash.
        self.required: list[bytes] = []
        self.basis = NO_BASIS
        self.lacking: list[tuple[str, str, str]] = []
        #: (task name, row, mark of the version) of what was read or computed here.
        self.upstream: list[tuple[str, str, str]] = []
        self._store = store
        self._editions = editions
        self._made = made

    def load(self, wanted: Sequence[Instance]) -> None:
        for instance in wanted:
            if not instance.task.is_stored:
                self._make(instance)
            elif instance not in self.versions:
                self._read(instance)

    def require(self, runner: Runner) -> None:
        """Note what a runner is computed from, which is loaded."""
        self.required = self._versions_above(runner)
        self.basis = basis_of(self.required)

    def _make(self, unstored: Instance) -> None:
        """Compute an instance that isn't stored, after what it requires."""
        runners: dict[Instance, Runner] = {}
        pending = [unstored]
        while pending:
            instance = pending[-1]
            if instance in self.versions:
                pending.pop()
            elif instance.task.is_stored:
                self._read(instance)
            else:
                runner = runners.get(instance) or runners.setdefault(instance, instance.evaluate())
                unloaded = [above for above in runner.upstream() if above not in self.versions]
                if unloaded:
                    pending.extend(reversed(unloaded))
                else:
                    self._compute(instance, runner)

    def _read(self, instance: Instance) -> None:
        task, made = instance.task, self._made.get(instance)
        edition = self._editions.get(address_of(task.name, instance.key)) if self._editions else None
        row = made.row if made is not None and edition is None else row_of(instance.key, edition or "")
        if made is not None and made.row == row and made.value is not ENCODED:
            self.values[instance] = made.value
            self._settle(instance, row, made.version)
            return
        try:
            found = load(self._store, task, row)
        except DamagedEntryError as damage:
            self._lack(instance, damage.reason)
            return
        if found is None:
            self._lack(instance, "")
            return
        entry, value, digest = found
        self.values[instance] = value
        self._settle(instance, row, version_of(task.name, instance.key, entry.generation, digest))

    def _lack(self, instance: Instance, reason: str) -> None:
        self.versions[instance] = b""
        self.lacking.append((instance.task.name, instance.key, reason))

    def _settle(self, instance: Instance, row: str, version: bytes) -> None:
        self.versions[instance] = version
        self.upstream.append((instance.task.name, row, mark_of(version)))

    def _compute(self, instance: Instance, runner: Runner) -> None:
        task = instance.task
        upstream = self._versions_above(runner)
        (epoch,) = self._store.epochs(task.name, [instance.key])
        generation, basis = generation_of(epoch, upstream), basis_of(upstream)
        digest = unstored_digest_of(instance, basis)
        row = row_of(instance.key, edition_of(task.fingerprint, basis))
        self._settle(instance, row, version_of(instance.task.name, instance.key, generation, digest))
        if not self.lacking:
            token = inside.set(Place(self._store, task.name, row))
            try:
                value = runner.function(*self.arguments(runner))
                self.values[instance] = awaited(value)
            except Exception as error:
                error.add_note(f"in {instance!r}, which is not stored and was computed for its consumer")
                raise
            finally:
                inside.reset(token)

    def _versions_above(self, runner: Runner) -> list[bytes]:
        return [self.versions[above] for above in runner.upstream()]

    def arguments(self, runner: Runner) -> list[Any]:
        """Return the values that a runner takes."""
        return [with_values(requirement, self.values.__getitem__) for requirement in runner.requirements]


def unstored_value(store: Store, instance: Instance, editions: Mapping[bytes, str]) -> Any:
    """Compute an instance that isn't stored, and what it needs of the same kind, in the calling thread.

    Args:
        store: where the stored ones among its inputs are.
        instance: what is wanted.
        editions: address of each stored input -> its edition.

    Raises:
        LookupError: inputs are missing; args[0] is what `Report.lacking` says.
    """
    inputs = Inputs(store, editions)
    with open_store(store):
        inputs.load([instance])
    if inputs.lacking:
        raise LookupError(tuple(inputs.lacking))
    return inputs.values[instance]


def awaited(result: Any) -> Any:
    """Return a result, or what an awaitable gives, which is waited for.

    That is done in an event loop of its own, in another thread where this one has a running loop.
    """
    if type(result) in codec.ATOMS:
        return result
    import inspect

    if not inspect.isawaitable(result):
        return result
    import asyncio

    async def wait() -> Any:
        return await result

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(wait())
    outcome: list[Callable[[], Any]] = []
    context = copy_context()
    thread = threading.Thread(target=lambda: outcome.append(_captured(lambda: context.run(asyncio.run, wait()))))
    thread.start()
    thread.join()
    return outcome[0]()


def _captured(call: Callable[[], Any]) -> Callable[[], Any]:
    try:
        value = call()
    except BaseException as error:
        return functools.partial(_raise, error)
    return lambda: value


def _raise(error: BaseException) -> Any:
    raise error
