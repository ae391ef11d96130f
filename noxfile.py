"""The checks that CI runs on every CPython it finds: `nox`, or `nox -s lint`."""

from pathlib import Path

import nox

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
nox.options.sessions = ["tests", "write_store", "read_stores", "lint"]
nox.options.error_on_missing_interpreters = False


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the test suite."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", "-q", *session.posargs)


def _stores() -> Path:
    return Path("build", "stores")


@nox.session(python=PYTHONS)
def write_store(session: nox.Session) -> None:
    """Write a store under each version."""
    session.install(".")
    session.run("python", "tests/across_pythons.py", "write", str(_stores()))


@nox.session(python=PYTHONS)
def read_stores(session: nox.Session) -> None:
    """Read under each version the stores that all of them wrote."""
    session.install(".")
    session.run("python", "tests/across_pythons.py", "read", str(_stores()))


@nox.session(python=PYTHONS[0])
def lint(session: nox.Session) -> None:
    """Check style and types."""
    session.install(".[test,lint]")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    session.run("pyright", "-p", ".")
    session.run("python", "-m", "pytest", "-q", "tests/test_typing.py")
