"""The order of the files: each imports only from files before it, and the pure ones touch nothing outside."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

import checkpoint

PACKAGE = Path(checkpoint.__file__).parent
ORDER = [
    "errors",
    "checks",
    "texts",
    "environment",
    "amounts",
    "markup",
    "keys",
    "signatures",
    "revival",
    "fingerprint.names",
    "fingerprint.source",
    "fingerprint.modules",
    "fingerprint.things",
    "fingerprint.places",
    "fingerprint.parts",
    "fingerprint.references",
    "fingerprint",
    "functions",
    "policy",
    "unpickling",
    "codec",
    "store.claims",
    "store.signature",
    "store.settings",
    "store.entry",
    "store.tag",
    "store.advice",
    "store.usage",
    "store.folders",
    "store.cache",
    "store.reading",
    "store.formats",
    "store.mounts",
    "store.disk",
    "store.inventory",
    "store.behind",
    "store.parcel",
    "store.shared.objects",
    "store.shared.memory",
    "store.shared.folder",
    "store.shared.remote",
    "store.shared.names",
    "store.shared.texts",
    "store.shared.tier",
    "store.shared.place",
    "store.shared.lease",
    "store.shared.watch",
    "store.shared.owner",
    "store.shared.claims",
    "store.shared.shared",
    "store.shared.address",
    "store.shared.inventory",
    "store.shared",
    "store",
    "files",
    "graph",
    "values",
    "version",
    "leaf",
    "revisions",
    "plan",
    "collector",
    "survey",
    "durations",
    "reasons",
    "room",
    "origin",
    "inside",
    "process",
    "mutation",
    "job",
    "inputs",
    "batch",
    "worker",
    "sources",
    "wire",
    "remote",
    "traits",
    "engines.dask",
    "engines.ray",
    "engines",
    "pool",
    "foreign",
    "executors",
    "counts",
    "happenings",
    "events",
    "choice",
    "outcome",
    "notices",
    "parking",
    "verdicts",
    "computing",
    "engine",
    "observe.standing",
    "observe.terminal",
    "observe.picture",
    "observe.progress",
    "observe.logs",
    "observe.bars",
    "observe.spans",
    "observe.causes",
    "observe.record",
    "observe.archive",
    "observe.labels",
    "observe.schedule",
    "observe.trace",
    "observe.report",
    "observe.live",
    "observe.pulse",
    "observe.leaving",
    "observe",
    "runs",
    "reports",
    "forecasts",
    "lineage",
    "previews",
    "inventory",
    "filters",
    "removal",
    "arguments",
    "bundles",
    "diagrams",
    "drawings",
    "frames",
    "options",
    "tasks",
    "decorators",
    "testing",
    "journal.records",
    "journal.manifest",
    "journal.migrations",
    "journal.database",
    "journal.values",
    "journal.blobs",
    "journal.rows",
    "journal.recorder",
    "journal.lease",
    "journal.journal",
    "journal",
    "care.stock",
    "care.verification",
    "care.collection",
    "care",
    "",
    "flows",
    "flows.linear.handler",
    "flows.linear.steps",
    "flows.linear.parts",
    "flows.linear.flow",
    "flows.linear",
    "flows.pipeline.config",
    "flows.pipeline.overlay",
    "flows.pipeline.lines",
    "flows.pipeline.call",
    "flows.pipeline.running",
    "flows.pipeline.function",
    "flows.pipeline.drawing",
    "flows.pipeline.stage",
    "flows.pipeline",
    "flows.events.errors",
    "flows.events.event",
    "flows.events.retry",
    "flows.events.values",
    "flows.events.step",
    "flows.events.routes",
    "flows.events.checkpoints",
    "flows.events.history",
    "flows.events.ledger",
    "flows.events.state",
    "flows.events.work",
    "flows.events.delivery",
    "flows.events.stream",
    "flows.events.runtime",
    "flows.events.context",
    "flows.events.handler",
    "flows.events.workflow",
    "flows.events",
    "flows.workflow.errors",
    "flows.workflow.cells",
    "flows.workflow.channel",
    "flows.workflow.redis_channel",
    "flows.workflow.branch",
    "flows.workflow.backends",
    "flows.workflow.graph",
    "flows.workflow.tasks",
    "flows.workflow.binding",
    "flows.workflow.queue",
    "flows.workflow.ledger",
    "flows.workflow.metadata",
    "flows.workflow.limits",
    "flows.workflow.lane",
    "flows.workflow.session",
    "flows.workflow.trail",
    "flows.workflow.export",
    "flows.workflow.checkpoints",
    "flows.workflow.requests",
    "flows.workflow.task_context",
    "flows.workflow.handler",
    "flows.workflow.remote",
    "flows.workflow.groups",
    "flows.workflow.engine",
    "flows.workflow.context",
    "flows.workflow.declaring",
    "flows.workflow.checkpoint_manager",
    "flows.workflow",
    "targets",
    "ui.address",
    "ui.guard",
    "ui.templates",
    "ui.rows",
    "ui.entries",
    "ui.watching",
    "ui.asking",
    "ui.clearing",
    "ui.app",
    "ui",
    "cli.lazy",
    "cli.options",
    "cli.chosen",
    "cli.tables",
    "cli.tasks",
    "cli.listing",
    "cli.removing",
    "cli.running",
    "cli.graphs",
    "cli.moving",
    "cli.completion",
    "cli.records",
    "cli.flows",
    "cli.report",
    "cli.care",
    "cli.ui",
    "cli",
    "__main__",
]
PURE = ["graph", "version", "plan"]
PLAIN_STORE_NAMES = {"Entry", "Epoch", "Store", "Write"}


@functools.cache
def files() -> dict[str, Path]:
    """Return module name below the package -> file."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = file
    return found


def imports(file: Path) -> Iterator[tuple[str, str | None]]:
    """Yield (module, name imported from it or None) of every import statement, also those inside functions."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name} has a relative import"
            yield from ((str(node.module), alias.name) for alias in node.names)


def own_imports(name: str) -> set[str]:
    """Return the modules of the package that a module of it imports, named below the package."""
    known = files()
    found = set()
    for module, item in imports(known[name]):
        if module.partition(".")[0] != "checkpoint":
            continue
        below = module.removeprefix("checkpoint").removeprefix(".")
        submodule = f"{below}.{item}".strip(".")
        found.add(submodule if item is not None and submodule in known else below)
    return found


def test_every_file_has_its_place_in_the_order() -> None:
    """The order names each file of the package once."""
    assert sorted(ORDER) == sorted(files())


@pytest.mark.parametrize("name", ORDER)
def test_a_file_imports_only_from_files_before_it(name: str) -> None:
    """No import, at top level or inside a function, goes against the order."""
    before = ORDER[: ORDER.index(name)]
    assert sorted(own_imports(name) - set(before)) == []


@pytest.mark.parametrize("name", PURE)
def test_pure_files_take_only_plain_types_of_the_store(name: str) -> None:
    """Graph, version and plan know what an entry is, and no place where entries live."""
    taken = {item for module, item in imports(files()[name]) if module.startswith("checkpoint.store")}
    assert set() == taken - PLAIN_STORE_NAMES


@pytest.mark.parametrize("name", PURE)
def test_pure_files_have_no_clock_and_no_system(name: str) -> None:
    """Graph, version and plan import neither a clock nor anything that starts or touches something."""
    impure = {"time", "datetime", "os", "sys", "pathlib", "random", "threading", "concurrent", "multiprocessing",
              "sqlite3", "diskcache", "asyncio", "subprocess", "logging"}  # fmt: skip
    assert set() == {module.partition(".")[0] for module, _ in imports(files()[name])} & impure


@pytest.mark.parametrize("name", PURE)
def test_pure_files_know_no_executor(name: str) -> None:
    """Graph, version and plan don't import what computes."""
    assert set() == own_imports(name) & {"worker", "executors", "engine"}


def test_files_are_named_for_what_they_hold() -> None:
    """No file has a name that says nothing."""
    assert set() == {file.stem for file in files().values()} & {"utils", "util", "common", "helpers", "base", "misc"}
