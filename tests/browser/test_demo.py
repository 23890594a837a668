"""The status page and Prometheus's console of a real fleet while the demo runs: what a person sees.

SCREENSHOTS names a folder that pictures of both are put into (`make screenshots`).
"""

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from rich.console import Console

from tests.kit import browser as kit
from tests.kit.browser import opened
from tests.kit.sqs import until
from workers import catalogue, settings
from workers.local import demo, prometheus
from workers.local.fleet import Fleet, FleetOptions, fleet
from workers.local.logins import with_logins
from workers.local.prometheus import Prometheus
from workers.local.stack import Running, StackOptions, infrastructure
from workers.roles.migrate import run_migrate

#: So many that the page refreshes itself meanwhile, several times.
JOBS = 150
DESK, PHONE = {"width": 1_280, "height": 900}, {"width": 360, "height": 740}

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


@dataclass
class Scene:
    """A running stack with its fleet, and the Prometheus that watches it."""

    running: Running
    members: Fleet
    prometheus: Prometheus


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with kit.browser() as found:
        yield found


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="roadcall-test-", dir="/var/tmp") as folder, ExitStack() as stack:
        home = Path(folder)
        home.chmod(0o755)
        options = StackOptions(data_dir=home / "state", say=lambda _line: None, fsync=False)
        bare = stack.enter_context(infrastructure(options))
        run_migrate(settings.load(bare.environment()))
        running = with_logins(bare, home / "state")
        members = stack.enter_context(
            fleet(running, FleetOptions(logs=home / "state" / "logs", say=lambda _line: None))
        )
        watching = prometheus.serve(stack, home / "prometheus", home / "prometheus.log", targets=members.targets)
        yield Scene(running, members, watching)


def shown(page: Page) -> int:
    """How many payments the page says are completed."""
    text = page.locator("#payments").inner_text()
    found = re.search(r"completed\D*([\d,]+)", text, re.IGNORECASE)
    return int(found[1].replace(",", "")) if found else 0


def picture(page: Page, name: str) -> None:
    """Keep a picture, where a folder for it is named."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def test_the_page_counts_along_while_the_demo_runs(chromium: Browser, scene: Scene):
    done: list[bool] = []
    work = threading.Thread(target=lambda: done.append(demo.run(scene.running, JOBS, Console(file=StringIO()))))
    with opened(chromium, f"{scene.members.status_url}/", viewport=DESK) as watched:
        page = watched.page
        expect(page.locator("h1")).to_have_text("All is well", timeout=30_000)
        seen = [shown(page)]
        work.start()
        while work.is_alive() or shown(page) < JOBS:
            page.wait_for_timeout(250)
            if shown(page) != seen[-1]:
                seen.append(shown(page))
        assert done == [True]
        assert seen == sorted(seen), "what is completed stays so"
        assert seen[-1] >= JOBS
        assert len(seen) >= 3, f"the page counts along: {seen}"  # before, meanwhile, after
        assert len(watched.navigations) == 1
        watched.assert_quiet()
    for name, options in (
        ("status-light", {"viewport": DESK}),
        ("status-dark", {"viewport": DESK, "color_scheme": "dark"}),
        ("status-phone", {"viewport": PHONE, "color_scheme": "dark"}),
    ):
        with opened(chromium, f"{scene.members.status_url}/", **options) as watched:
            expect(watched.page.locator("#fleet")).to_contain_text("monitor")
            assert watched.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            picture(watched.page, name)
            watched.assert_quiet()


def test_the_console_of_the_queues_in_a_browser(chromium: Browser, scene: Scene):
    looked = f"count({catalogue.QUEUE_LAST_SUCCESS.name})"
    until(lambda: [n for _, n in scene.prometheus.ask(looked)] == [len(catalogue.WATCHED_QUEUES)], within_s=60)
    for name, options in (
        ("console-light", {"viewport": DESK}),
        ("console-dark", {"viewport": DESK, "color_scheme": "dark"}),
        ("console-phone", {"viewport": PHONE}),
    ):
        with opened(chromium, scene.prometheus.console, **options) as watched:
            body = watched.page.locator("body")
            for queue, _ in catalogue.WATCHED_QUEUES:
                expect(body).to_contain_text(queue)
            assert watched.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            picture(watched.page, name)
            watched.assert_quiet()
