"""Place: where in a shared store each task has its objects, and that it is the task's own.

Before the first task gets a place, the place of the store is asked whether it can keep its promises.

Next: store/shared/lease.py
"""

from __future__ import annotations

from typing import final

from checkpoint.errors import StoreError
from checkpoint.store.disk import folder_name
from checkpoint.store.shared.objects import Objects, each

__all__ = ["Places"]

_CHECKED = "checkpoint/.checked"
_LAYOUT = b"1"


@final
class Places:
    """The places of the tasks in one store."""

    def __init__(self, url: str, objects: Objects) -> None:
        self._url = url
        self._objects = objects
        self._settled: set[str] = set()

    def at(self, task: str) -> str:
        """Return what the names of a task's objects begin with."""
        return f"checkpoint/{folder_name(task)}/"

    def settle(self, task: str) -> None:
        """Give a task its place.

        Raises:
            StoreError: the store is of another layout, can't create exclusively, or has another task there.
        """
        if task in self._settled:
            return
        if not self._settled:
            self._check()
        name = f"{self.at(task)}name"
        encoded = task.encode("utf-8", "surrogatepass")
        if not self._objects.create(name, encoded) and (found := self._objects.get(name)) not in (encoded, None):
            owner = found.decode("utf-8", "replace") if found is not None else ""
            raise StoreError(self._url, f"{name} belongs to {owner}", f"give {task} another name with name=")
        self._settled.add(task)

    def _check(self) -> None:
        layout = self._objects.get(_CHECKED)
        if layout is None:
            self._objects.check()
            self._objects.put(_CHECKED, [_LAYOUT])
        elif layout != _LAYOUT:
            raise StoreError(self._url, f"it has layout {layout!r}, not {_LAYOUT!r}", "use the version that wrote it")

    def is_settled(self, task: str) -> bool:
        """Tell whether a task has a place."""
        return task in self._settled or self._objects.get(f"{self.at(task)}name") is not None

    def tasks(self) -> list[str]:
        """Return the names of the tasks that have a place, sorted."""
        folders = [folder for folder in self._objects.folders("checkpoint/") if not folder.startswith(".")]
        names = each(self._objects, self._objects.get, [f"checkpoint/{folder}/name" for folder in folders])
        return sorted(name.decode("utf-8", "surrogatepass") for name in names if name is not None)
