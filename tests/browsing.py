"""Headless Chromium for tests of pages, and a page that fails its test where anything goes wrong in it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser in this block; skips the test where there is none."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def clean_page(browser: Browser, is_ours: Callable[[str], bool], **options: Any) -> Iterator[Page]:
    """Open a page in this block; it has said nothing on the console, and asked for nothing that isn't ours."""
    page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **options})
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: None if is_ours(request.url) else problems.append(request.url))
    yield page
    page.close()
    assert [] == problems, problems
