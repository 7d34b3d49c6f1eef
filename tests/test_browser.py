"""Every page in a real browser: offline, quiet, and readable from a phone to a wide screen."""

import shutil

import pytest
from playwright.sync_api import sync_playwright

from crm_analysis import report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PAGES = ["index", *report.notebooks()]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium")


@pytest.fixture(scope="module")
def browser():
    quiet = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=quiet)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module", params=[1280, 768, 360])
def page(request, browser):
    context = browser.new_context(viewport={"width": request.param, "height": 800}, offline=True)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("report_of", ["published", "published_sample"])
def test_page(request, page, report_of, name):
    published = request.getfixturevalue(report_of)
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    address = (published / f"{name}.html").as_uri()
    page.goto(address)
    assert errors == []
    assert [url for url in requests if not url.startswith((address, "data:"))] == []
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for image in page.locator("img").all():
        assert image.evaluate("image => image.naturalWidth") > 600
        box = image.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    small = page.evaluate(
        """() => [...document.querySelectorAll('main *')].filter(element =>
            [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()) &&
            parseFloat(getComputedStyle(element).fontSize) < 12).length"""
    )
    assert small == 0


def test_a_reader_gets_from_the_index_to_a_page_and_back(published, browser):
    page = browser.new_page()
    page.goto((published / "index.html").as_uri())
    page.get_by_role("link", name="Which tier does each customer belong to").click()
    assert page.locator("h1").inner_text() == "Which tier does each customer belong to, and who has moved?"
    page.get_by_text("How this was computed").click()
    assert page.get_by_text("fingerprint").is_visible()
    page.get_by_role("link", name="All pages of this report").click()
    assert page.locator("h1").inner_text() == "CDNOW music store: our customers as of 1998-06-30"
