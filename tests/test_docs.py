"""The documentation runs: each page's Python blocks, top to bottom, in one namespace and an empty folder."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import checkpoint
import checkpoint.flows.linear
import checkpoint.flows.workflow
import checkpoint.journal
from checkpoint.options import TaskSettings
from checkpoint.runs import RunOptions

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[int, str, str]]:
    """Return (number of lines above it, kind, text) of each block of Python or of a shell."""
    text = page.read_text(encoding="utf-8")
    return [(text.count("\n", 0, found.start(2)), found[1], found[2]) for found in BLOCK.finditer(text)]


def run_console(page: Path, line: int, text: str) -> None:
    """Type the lines after "$ " into a shell, and compare what is printed with the lines below."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PYTHON": sys.executable}
    before = 'python() { "$PYTHON" "$@"; }; checkpoint() { python -m checkpoint "$@"; }; '
    for typed in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = typed.partition("\n")
        done = subprocess.run(
            ["sh", "-c", before + command], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        printed = done.stdout + done.stderr
        is_right = doctest.OutputChecker().check_output(
            expected, printed, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        )
        assert is_right, f"{page.name}, below line {line}: $ {command}\n{printed}"


def run_block(page: Path, line: int, code: str, namespace: dict[str, Any]) -> None:
    """Run a block as if its page were the source file, so that tracebacks point into the page."""
    if ">>>" not in code:
        exec(compile("\n" * line + code, page, "exec", dont_inherit=True), namespace)
        return
    test = doctest.DocTestParser().get_doctest(code, {}, page.name, str(page), line)
    test.globs = namespace
    output: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=output.append, clear_globs=False)
    assert not output, "".join(output)


@pytest.fixture
def own_modules() -> Iterator[None]:
    """Forget the modules that a page has written: another page may write one of the same name."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(os.getcwd()):
            del sys.modules[name]
    importlib.invalidate_caches()


@pytest.mark.usefixtures("own_modules")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_runs(page: Path) -> None:
    """What a page shows, in Python or in a shell, works when it is typed in from top to bottom."""
    namespace: dict[str, Any] = {"__name__": page.stem.lower()}
    for line, kind, code in blocks(page):
        if kind == "console":
            run_console(page, line, code)
        else:
            run_block(page, line, code, namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    """No page points to a file that is not there."""
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)[^)\s]*\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_reference_names_everything_public() -> None:
    """docs/reference.md has an entry for each public name."""
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert [name for name in checkpoint.__all__ if f"`{name}" not in text] == []


@pytest.mark.parametrize(
    "module",
    [checkpoint.flows.linear, checkpoint.flows.workflow, checkpoint.journal],
    ids=lambda module: module.__name__,
)
def test_the_reference_names_everything_in_a_module_of_its_own(module: Any) -> None:
    """docs/reference.md names what flows and the journal offer, and the methods of their classes."""
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    methods = [
        name
        for each in (getattr(module, name) for name in module.__all__)
        if isinstance(each, type)
        for name, value in vars(each).items()
        if callable(value) and not name.startswith("_")
    ]
    assert [name for name in (*module.__all__, *methods) if not re.search(rf"\b{name}\b", text)] == []


def test_the_reference_names_every_option() -> None:
    """docs/reference.md has a row for each option of a task and of a run."""
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    options = [*TaskSettings.__annotations__, *RunOptions.__annotations__]
    assert [option for option in options if f"\n| `{option}` |" not in text] == []


def test_the_map_names_every_file() -> None:
    """docs/architecture.md has a row for each file of the package that is more than a docstring."""
    package = Path(checkpoint.__file__).parent
    files = [file.relative_to(package).as_posix() for file in package.rglob("*.py") if "import" in file.read_text()]
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert [file for file in files if f"| `{file}` |" not in text] == []
