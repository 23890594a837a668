"""The status page in a real browser: it refreshes itself, keeps what its reader does, and is readable by everybody."""

import os
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from store.db import Pool
from tests.kit import browser as kit
from tests.kit.browser import Watched, opened
from tests.kit.fleet import depth, facts, queues, reported, waiting, well
from tests.kit.readers import reading_pool
from workers import page
from workers.health import DatabaseReadiness, Server, application
from workers.metrics import Metrics

pytestmark = pytest.mark.long

REFRESH_S = 1
PHONE = {"width": 360, "height": 740}
#: WCAG 2.2, success criterion 1.4.3.
CONTRAST_MIN = 4.5


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with kit.browser() as found:
        yield found


@pytest.fixture
def url(database_url: str, pool: Pool) -> Iterator[str]:
    """The address of the real application's status page, over a fleet that is well."""
    for age_s in range(15, 3_600, 30):
        reported(pool, facts(), age_s)
    reported(pool, facts())
    well(pool)
    with reading_pool(database_url) as reader:
        app = application(Metrics().registry, dict, DatabaseReadiness(reader), page.routes(reader, REFRESH_S))
        server = Server(app, "127.0.0.1", 0)
        try:
            yield f"{server.start()}/"
        finally:
            server.stop()


@pytest.fixture
def watched(chromium: Browser, url: str) -> Iterator[Watched]:
    with opened(chromium, url, viewport={"width": 1_280, "height": 800}) as found:
        yield found


def troubled(pool: Pool) -> None:
    """Write the snapshot of a fleet in trouble."""
    found = facts(
        queues={**queues(), "payments-commands": {"main": depth(1_204), "dlq": depth(3)}},
        pending={"back_office": waiting(212, 22_000)},
        outbox=waiting(1_302, 195),
        violations={"lines_sum_to_amount": 2},
    )
    reported(pool, found)


def refreshed(found: Page) -> None:
    """Wait until the page has refreshed itself once more."""
    with found.expect_response(lambda answer: answer.url.endswith("/") and answer.ok):
        pass
    found.wait_for_timeout(100)


def focused(found: Page) -> str:
    return str(found.evaluate("document.activeElement.id"))


def test_it_changes_by_itself_when_the_monitor_writes(watched: Watched, pool: Pool):
    found = watched.page
    expect(found.locator("h1")).to_have_text("All is well")
    expect(found.locator("#payments")).to_contain_text("48,210")
    assert found.locator("#spoken").text_content() == ""
    reported(pool, facts(payments={"completed": 48_217}))
    expect(found.locator("#payments")).to_contain_text("48,217")
    assert found.locator("#spoken").text_content() == "", "numbers are not spoken"
    troubled(pool)
    expect(found.locator("h1")).to_have_text("4 things need attention")
    expect(found.locator("#attention")).to_contain_text("3 dead letters in payments-commands")
    expect(found.locator("#spoken")).to_have_text("4 things need attention")
    expect(found).to_have_title("4 things need attention · Payments")
    reported(pool, facts())
    expect(found.locator("h1")).to_have_text("All is well")
    assert found.locator("#attention").count() == 0
    assert len(watched.navigations) == 1, "the document was loaded once"
    watched.assert_quiet()


def test_a_refresh_keeps_what_the_reader_does(watched: Watched, pool: Pool):
    found = watched.page
    found.locator("#fleet-table-2-summary").click()
    found.evaluate("window.scrollTo(0, 300)")
    found.evaluate("getSelection().selectAllChildren(document.getElementById('payments-title'))")
    found.evaluate("document.getElementById('fleet-table-2-summary').focus({preventScroll: true})")
    # The list that appears above must not take the focus, nor fold what is unfolded.
    troubled(pool)
    expect(found.locator("h1")).to_have_text("4 things need attention")
    assert focused(found) == "fleet-table-2-summary"
    assert found.locator("#fleet-table-2-details").get_attribute("open") is not None
    assert found.evaluate("getSelection().toString()").strip() == "Payments"
    assert found.evaluate("scrollY") >= 300
    found.evaluate("document.getElementById('attention-2').focus({preventScroll: true})")
    before = found.evaluate("scrollY")
    refreshed(found)
    assert (focused(found), found.evaluate("scrollY")) == ("attention-2", before)
    watched.assert_quiet()


def test_the_keyboard_reaches_everything(watched: Watched, pool: Pool):
    found = watched.page
    found.keyboard.press("Tab")
    assert focused(found) == "skip"
    box = found.locator("#skip").bounding_box()
    assert box
    assert box["y"] >= 0, "the skip link is seen when it has the focus"
    outline = found.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    found.keyboard.press("Enter")
    assert focused(found) == "main"
    reached = []
    for _ in range(12):
        found.keyboard.press("Tab")
        reached.append(focused(found))
    assert {"queues-table-1-scroll", "invariants-table-1-summary", "fleet-table-2-summary"} <= set(reached)
    found.locator("#invariants-table-1-summary").focus()
    found.keyboard.press("Enter")
    expect(found.locator("#invariants-table-1")).to_be_visible()
    refreshed(found)
    assert focused(found) == "invariants-table-1-summary"
    expect(found.locator("#invariants-table-1")).to_be_visible()
    watched.assert_quiet()


def test_it_can_be_paused(watched: Watched, pool: Pool):
    found = watched.page
    pause = found.get_by_role("button", name="Pause")
    pause.press("Enter")
    expect(pause).to_have_attribute("aria-pressed", "true")
    found.wait_for_timeout(500)  # what was on its way
    asked = len(watched.requests)
    troubled(pool)
    found.wait_for_timeout(REFRESH_S * 2_500)
    assert len(watched.requests) == asked
    expect(found.locator("h1")).to_have_text("All is well")
    pause.press("Enter")
    expect(found.locator("h1")).to_have_text("4 things need attention")
    watched.assert_quiet()


def test_a_service_that_is_away_is_said_and_found_again(watched: Watched):
    found = watched.page
    found.route("**/*", lambda route: route.abort())
    expect(found.locator("#lost")).to_be_visible()
    expect(found.locator("h1")).to_have_text("All is well")
    found.unroute("**/*")
    expect(found.locator("#lost")).to_be_hidden()


def luminance(colour: str) -> float:
    """The relative luminance of `rgb(…)`, by WCAG 2.2."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


#: The colour of an element's text and of the first ground behind it.
COLOURS = """element => {
    let ground = element;
    while (getComputedStyle(ground).backgroundColor === 'rgba(0, 0, 0, 0)') ground = ground.parentElement;
    return [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor];
}"""
TEXTS = (
    "h1",
    ".reported",
    "#attention a",
    "h2",
    "dt",
    ".number",
    ".alarming",
    ".unknown",
    ".note",
    "caption",
    "thead th",
)
MORE_TEXTS = ("tbody th", "td", "summary", "button", "footer", "#clock")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_are_readable_in_the_light_and_in_the_dark(chromium: Browser, url: str, pool: Pool, scheme: str):
    # A queue of which no monitor knows but the dead letters.
    reported(pool, facts(queues={"payments-late": {"dlq": depth()}}))
    troubled(pool)
    with opened(chromium, url, color_scheme=scheme) as watched:
        ground = watched.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (luminance(ground) > 0.5) is (scheme == "light")
        for selector in (*TEXTS, *MORE_TEXTS):
            colours = watched.page.eval_on_selector(selector, COLOURS)
            assert contrast(*colours) >= CONTRAST_MIN, (selector, colours)
        watched.assert_quiet()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_headline_that_all_is_well_is_readable(chromium: Browser, url: str, scheme: str):
    with opened(chromium, url, color_scheme=scheme) as watched:
        assert contrast(*watched.page.eval_on_selector("h1", COLOURS)) >= CONTRAST_MIN
        assert watched.page.locator("h1 svg").count() == 1, "a sign, so that it is not the colour alone"


@pytest.mark.parametrize("trouble", [False, True])
def test_a_telephone_shows_it_without_scrolling_sideways(chromium: Browser, url: str, pool: Pool, *, trouble: bool):
    if trouble:
        troubled(pool)
    with opened(chromium, url, viewport=PHONE) as watched:
        watched.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        width = watched.page.evaluate("document.documentElement.scrollWidth")
        assert width == PHONE["width"]
        rights = "found => Math.max(...found.map(each => each.getBoundingClientRect().right))"
        assert watched.page.eval_on_selector_all(".card, .state, header", rights) <= PHONE["width"]
        watched.assert_quiet()


def test_without_scripts_it_reloads_itself(chromium: Browser, url: str, pool: Pool):
    with opened(chromium, url, java_script_enabled=False) as watched:
        found = watched.page
        expect(found.locator("h1")).to_have_text("All is well")
        expect(found.locator("#pause")).to_be_hidden()
        found.locator("#fleet-table-2-summary").click()
        expect(found.locator("#fleet-table-2")).to_be_visible()
        reported(pool, facts(payments={"completed": 48_217}))
        expect(found.locator("#payments")).to_contain_text("48,217")
        assert len(watched.navigations) > 1
        assert watched.complaints == []


def test_a_browser_that_is_not_there_is_a_failure_that_names_the_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(os.environ, "CHROMIUM", "/nowhere/chromium")
    with pytest.raises(pytest.fail.Exception, match="install Debian's package `chromium`"), kit.browser():
        pass
