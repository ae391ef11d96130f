"""Binding: which code the tasks of a kept state get when it is resumed.

State is kept, code is not. A task is found by the workflow's name and its id, in this process or by importing the
module that declared it. Only a function that can't be found so comes back from the bytes kept of it, and only under
the Python that made them. Fingerprints tell whether the code is still what it was.

Must not know: channels, runs.

Next: flows/workflow/queue.py
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Mapping
from typing import Any, Literal

from checkpoint.codec import dump_by_value
from checkpoint.errors import CodeChangedWarning
from checkpoint.fingerprint import Code
from checkpoint.flows.workflow.errors import ChangedWorkflowError, ConfigError
from checkpoint.flows.workflow.graph import CURRENT, REGISTRY, Executable, Graph, ParallelGroup
from checkpoint.flows.workflow.tasks import RetryPolicy, TaskWrapper
from checkpoint.unpickling import dill_loads

__all__ = ["PYTHON", "Drift", "bind", "code_of", "graph_part", "locate"]

#: The version whose code bytes can be read.
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"

Drift = Literal["error", "warn", "allow"]

_OPTIONS = ("inject_context", "handler", "resolve_keyword_args", "max_cycles", "max_retries")


def graph_part(graph: Graph) -> dict[str, Any]:
    """Return nodes and edges as plain values, with the fingerprint of each task and where it was declared."""
    nodes: dict[str, dict[str, Any]] = {}
    for task_id, node in graph.nodes.items():
        if isinstance(node, ParallelGroup):
            nodes[task_id] = {"kind": "group", "members": list(node.members), "backend": node.backend,
                              "policy": node.policy, "max_workers": node.max_workers}  # fmt: skip
        elif isinstance(node, TaskWrapper):
            policy = node.retry_policy
            nodes[task_id] = {
                "kind": "task",
                "options": {name: getattr(node, name) for name in _OPTIONS},
                "retry_policy": None if policy is None else policy.to_dict(),
                "place": (node.function.__module__, node.function.__qualname__),
                "code": node.tracker.code().to_json(),
                "bound": sorted(node.bound),
            }
    return {"nodes": nodes, "edges": {key: list(each) for key, each in graph.edges.items()},
            "added": sorted(graph.added)}  # fmt: skip


def locate(place: tuple[str, str]) -> TaskWrapper | None:
    """Return the task that a module has under a name, imported if it isn't yet; None if there is none."""
    module_name, qualname = place
    if module_name in ("__main__", "__mp_main__") and module_name not in sys.modules:
        return None
    try:
        found: Any = importlib.import_module(module_name)
        for name in qualname.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError):
        return None
    return found if isinstance(found, TaskWrapper) else None


def code_of(task: TaskWrapper) -> bytes | None:
    """Return the bytes of a task that has no importable name; None if it has one, or can't be turned into bytes."""
    module, qualname = task.function.__module__, task.function.__qualname__
    if module not in ("__main__", "__mp_main__") and locate((module, qualname)) is task:
        return None
    try:
        return dump_by_value((task.function, task.bound))
    except Exception:  # the task may hold a lock or an open file, and need not be restored from bytes
        return None


def bind(
    name: str,
    part: Mapping[str, Any],
    code: Mapping[str, bytes],
    python: str,
    *,
    graph: Graph | None = None,
    on_drift: Drift = "warn",
) -> Graph:
    """Return the graph of a kept state with the code of now.

    Args:
        name: of the workflow.
        part: what `graph_part` returned.
        code: task id -> what `code_of` returned.
        python: the version that made the code's bytes.
        graph: None is what this process, or the modules of the tasks, declare under that name.

    Raises:
        ChangedWorkflowError: a task can't be found; with "error" also if one has changed.
    """
    if on_drift not in ("error", "warn", "allow"):
        raise ConfigError("on_drift", f"must be 'error', 'warn' or 'allow', not {on_drift!r}")
    token = CURRENT.set(None)  # what is imported or made here is no part of a workflow that is being declared
    try:
        bound = _bound(name, part, code, python, graph)
    finally:
        CURRENT.reset(token)
    _compare(name, part, bound, on_drift)
    return bound


def _bound(name: str, part: Mapping[str, Any], code: Mapping[str, bytes], python: str, graph: Graph | None) -> Graph:
    known = graph or _declared(name, part)
    bound = Graph(name) if known is None else known.copy()
    lost: list[str] = []
    for task_id, node in part["nodes"].items():
        if task_id in bound.nodes or (known is not None and task_id not in part["added"]):
            continue
        restored = _node(task_id, node, code.get(task_id), python)
        if restored is None:
            lost.append(task_id)
        else:
            bound.nodes[task_id] = restored
    if lost:
        reason = f"the code of these tasks is not in this process (kept under Python {python}, this is {PYTHON})"
        advice = "import what declares the workflow, then resume"
        raise ChangedWorkflowError(name, tuple(lost), reason, advice)
    for task_id in part["nodes"] if known is None else part["added"]:
        bound.edges.setdefault(task_id, list(part["edges"].get(task_id, [])))
    bound.added |= set(part["added"])
    return bound


def _declared(name: str, part: Mapping[str, Any]) -> Graph | None:
    if name not in REGISTRY:
        for module in {node["place"][0] for node in part["nodes"].values() if node["kind"] == "task"}:
            if module not in ("__main__", "__mp_main__"):
                try:
                    importlib.import_module(module)
                except ImportError:
                    continue
    return REGISTRY.get(name)


def _node(task_id: str, node: Mapping[str, Any], code: bytes | None, python: str) -> Executable | None:
    if node["kind"] == "group":
        group = ParallelGroup(task_id, list(node["members"]))
        return group.with_execution(node["backend"], {"max_workers": node["max_workers"]}, node["policy"])
    if (found := locate(node["place"])) is not None and found.task_id == task_id:
        return found
    if code is None or python != PYTHON:
        return None
    function, values = dill_loads(code)
    policy = node["retry_policy"]
    task = TaskWrapper(
        task_id, function, retry_policy=None if policy is None else RetryPolicy(**policy), **node["options"]
    )
    task.bound = values
    task.is_from_bytes = True
    return task


def _compare(name: str, part: Mapping[str, Any], graph: Graph, on_drift: Drift) -> None:
    changed: dict[str, list[str]] = {}
    for task_id, node in part["nodes"].items():
        found = graph.nodes.get(task_id)
        if node["kind"] == "task" and isinstance(found, TaskWrapper) and not found.is_from_bytes:
            pieces = _changed_pieces(found, Code.from_json(node["code"]))
            changed |= {task_id: pieces} if pieces else {}
    if not changed or on_drift == "allow":
        return
    if on_drift == "error":
        reason, advice = "the code of these tasks is not what it was", 'resume with on_drift="allow" to use that of now'
        raise ChangedWorkflowError(name, tuple(changed), reason, advice)
    told = ", ".join(f"{task_id} ({', '.join(pieces)})" for task_id, pieces in changed.items())
    text = f"workflow {name} goes on with other code than it was saved with: {told}"
    warnings.warn(text, CodeChangedWarning, stacklevel=5)


def _changed_pieces(task: TaskWrapper, before: Code) -> list[str]:
    """Return which functions and constants that a task uses have changed; the data in its closure may have."""
    return [change.name for change in task.tracker.code().changes_since(before) if change.before != change.after]
