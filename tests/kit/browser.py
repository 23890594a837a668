"""A real browser in tests: Debian's Chromium, driven by Playwright, with all it complains of and asks for on record.

CHROMIUM names another binary. Playwright's synchronous interface has an event loop of its own: no test that uses it may
run inside of one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
#: Nothing but the page under test: no look for updates, no QUIC, no first-run page. A container has no sandbox.
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: How long the browser waits for what a test expects.
PATIENCE_MS = 10_000


@dataclass
class Watched:
    """An open page, and what happened on it.

    Attributes:
        page: Playwright's.
        complaints: console errors and warnings, and exceptions that nobody caught.
        requests: every address asked for.
        failed: requests that were not answered, or with an error.
        navigations: how often a document was loaded.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    navigations: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Begin to write down what happens."""
        self.page.on("console", lambda said: self._complained(said.type, said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("requestfailed", lambda request: self.failed.append(f"{request.url}: {request.failure}"))
        self.page.on("response", lambda answer: self._answered(answer.url, answer.status))
        self.page.on("framenavigated", lambda frame: self.navigations.append(frame.url))

    def _complained(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.complaints.append(f"{kind}: {text}")

    def _answered(self, url: str, status: int) -> None:
        if status >= 400:
            self.failed.append(f"{url}: {status}")

    def assert_quiet(self) -> None:
        """Check that the page complained of nothing and that every request was answered."""
        assert self.complaints == []
        assert self.failed == []


@contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium of one's own."""
    binary = os.environ.get("CHROMIUM", CHROMIUM)
    if not Path(binary).exists():
        pytest.fail(f"{binary} is not there: install Debian's package `chromium`, or set CHROMIUM to a browser's path")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=binary, args=list(ARGUMENTS))
        try:
            yield launched
        finally:
            launched.close()


@contextmanager
def opened(chromium: Browser, url: str, **options: Any) -> Iterator[Watched]:
    """An address in a window of its own.

    Args:
        chromium: the browser.
        url: what is opened.
        options: of the window, as Playwright's `new_context` takes them: `color_scheme`, `viewport`,
            `java_script_enabled`, …
    """
    context = chromium.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    try:
        watched = Watched(context.new_page())
        watched.watch()
        watched.page.goto(url)
        yield watched
    finally:
        context.close()
