"""Every page in a real browser: offline, quiet, readable from a phone to a wide screen and on paper, for everybody."""

import csv
import re
import shutil
import unicodedata
from pathlib import Path
from urllib.parse import unquote

import pypdf
import pytest
import world
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
REPORTS = ["published", "published_sample", "published_world"]
WIDTHS = (360, 768, 1280)
SHEET = {"width": 673, "height": 986}  # CSS pixels of an A4 sheet within the margins of the stylesheet
IN_THE_DARK = ("index", "overview", "pareto")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium")

# What is wrong with a page whatever its width.
MADE_WELL = """() => {
    const problems = [], all = selector => [...document.querySelectorAll(selector)];
    if (document.documentElement.lang !== "en") problems.push("its language is not said");
    const levels = all("h1, h2, h3, h4, h5, h6").map(heading => +heading.tagName[1]);
    if (levels.filter(level => level === 1).length !== 1 || levels[0] !== 1) problems.push(`headings begin ${levels}`);
    levels.forEach((level, at) => level > (levels[at - 1] ?? 0) + 1 && problems.push(`a heading ${level} too deep`));
    for (const image of all("img")) {
        if (image.alt.trim().length < 30) problems.push(`an image says only '${image.alt}'`);
        if (image.naturalWidth < 600) problems.push(`an image is ${image.naturalWidth} wide: ${image.alt}`);
    }
    const ids = all("[id]").map(element => element.id);
    ids.filter((id, at) => ids.indexOf(id) < at).forEach(id => problems.push(`two elements are called ${id}`));
    return problems;
}"""

# What does not fit a screen.
FITS = """() => {
    const problems = [], width = innerWidth, all = selector => [...document.querySelectorAll(selector)];
    const page = document.documentElement.scrollWidth;
    if (page > width) problems.push(`it is ${page} wide`);
    for (const image of all("img")) {
        const box = image.getBoundingClientRect();
        if (box.left < 0 || box.right > width) problems.push(`an image is cut off: ${image.alt}`);
    }
    const small = all("main *").filter(element => parseFloat(getComputedStyle(element).fontSize) < 12 &&
        [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()));
    return [...problems, ...small.map(element => `small: ${element.textContent.slice(0, 40)}`)];
}"""

# What paper would cut.
PRINTS = """height => {
    const problems = [], width = innerWidth;
    for (const element of document.querySelectorAll("figure, tr, .scroll, .tile, .finding")) {
        const box = element.getBoundingClientRect(), style = getComputedStyle(element);
        const what = `${element.tagName} '${(element.querySelector("img")?.alt ?? element.textContent).slice(0, 40)}'`;
        if (box.right > width + 1 || element.scrollWidth > element.clientWidth + 1 && element.matches(".scroll"))
            problems.push(`${what} runs off the sheet`);
        if (element.matches(".scroll")) {
            if (style.overflowX !== "visible") problems.push(`${what} is cut off`);
        } else if (style.breakInside !== "avoid") problems.push(`${what} may be torn`);
        else if (box.height > height) problems.push(`${what} is longer than a sheet`);
    }
    return problems;
}"""

# Each list's columns: as given, and sorted once and twice by a click on its heading.
SORTED = """() => [...document.querySelectorAll("table.sortable thead th")].map(head => {
    const rows = () => [...head.closest("table").tBodies[0].rows];
    const read = () => [head.ariaSort, rows().map(row => row.cells[head.cellIndex].textContent)];
    const orders = [read()];
    for (const click of [1, 2]) {
        head.querySelector("button").click();
        orders.push(read());
    }
    return [head.textContent, head.classList.contains("n"), orders];
})"""


@pytest.fixture(scope="module")
def browser():
    quiet = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=quiet)
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser):
    context = browser.new_context(offline=True)
    yield context.new_page()
    context.close()


@pytest.fixture(params=REPORTS)
def folder(request):
    return request.getfixturevalue(request.param)


def test_every_page(folder, tab):
    problems, links, anchors, outside = {}, {}, {}, []
    decimal = "," if "world" in folder.parent.name else "."
    tab.on("console", lambda message: problems.setdefault(f"{tab.url} console", []).append(message.text))
    tab.on("pageerror", lambda error: problems.setdefault(f"{tab.url} error", []).append(str(error)))
    tab.on("request", lambda request: outside.append(request.url))
    pages = sorted(folder.glob("*.html"))
    assert len(pages) > 20
    for page in pages:
        tab.set_viewport_size({"width": 1280, "height": 800})
        tab.goto(page.as_uri())
        found = {
            "made": tab.evaluate(MADE_WELL),
            "sorting": wrongly_sorted(tab, decimal),
        }
        found["axe"] = violations(tab)
        for width in WIDTHS:
            tab.set_viewport_size({"width": width, "height": 800})
            found[f"at {width}"] = tab.evaluate(FITS)
        if page.stem in IN_THE_DARK:
            tab.emulate_media(color_scheme="dark")
            found["dark"] = violations(tab, {"runOnly": ["color-contrast"]})
            tab.emulate_media(color_scheme="light")
        tab.emulate_media(media="print")
        tab.set_viewport_size(SHEET)
        found["print"] = tab.evaluate(PRINTS, SHEET["height"])
        tab.emulate_media(media="screen")
        if page.stat().st_size > (300_000 if page.stem == "index" else 1_500_000):
            found["size"] = [page.stat().st_size]
        problems |= {f"{page.stem} {what}": wrong for what, wrong in found.items()}
        links[page] = tab.eval_on_selector_all("a[href]", "links => links.map(link => link.getAttribute('href'))")
        anchors[page.resolve()] = set(tab.eval_on_selector_all("[id]", "named => named.map(element => element.id)"))
    own = {page.as_uri() for page in pages}
    problems["outside"] = [url for url in outside if url.partition("#")[0] not in own and not url.startswith("data:")]
    problems["links"] = broken(links, anchors)
    assert {what: wrong for what, wrong in problems.items() if wrong} == {}


def violations(tab, options=None) -> list[str]:
    """What axe finds to be a serious or critical hindrance to somebody."""
    found = Axe().run(tab, options={"resultTypes": ["violations"]} | (options or {})).response["violations"]
    return [
        f"{rule['id']}: {rule['nodes'][0]['html'][:120]}" for rule in found if rule["impact"] in ("serious", "critical")
    ]


def broken(links: dict[Path, list[str]], anchors: dict[Path, set[str]]) -> list[str]:
    """The links that lead nowhere."""
    wrong = []
    for page, hrefs in links.items():
        for href in hrefs:
            file, _, part = href.partition("#")
            target = (page.parent / unquote(file) if file else page).resolve()
            if not target.is_file() or (part and unquote(part) not in anchors.get(target, ())):
                wrong.append(f"{page.stem}: {href}")
    return wrong


def wrongly_sorted(tab, decimal: str) -> list[str]:
    """The columns of lists that a click does not bring into order: numbers by size, what is unknown last."""
    wrong = []
    for heading, numeric, ((before, given), (first, once), (second, twice)) in tab.evaluate(SORTED):
        ways = ["ascending", "descending"]
        expected = [None, *reversed(ways)] if numeric else [None, *ways]
        rising, falling = (twice, once) if numeric else (once, twice)
        known = [text for text in rising if text != "–"]
        if numeric or all(re.fullmatch(r"\d{4}-\d\d-\d\d", text) for text in known):
            keys = [size(text, decimal) for text in known] if numeric else known
        else:
            keys = []  # words stand as the reader's language has them
        unknown = ["–"] * (len(rising) - len(known))
        if (
            [before, first, second] != expected
            or sorted(once) != sorted(given)
            or (rising, falling) != (known + unknown, known[::-1] + unknown)
            or keys != sorted(keys)
        ):
            wrong.append(f"{heading}: {[before, first, second]} {rising} {falling}")
    return wrong


def size(text: str, decimal: str) -> float:
    """What a number that is written for a reader amounts to."""
    digits = re.sub(rf"[^\d{decimal}−]", "", text)
    return float(digits.replace(decimal, ".").replace("−", "-"))


def test_a_reader_sorts_a_list_by_mouse_and_by_keyboard(published_world, tab):
    tab.goto((published_world / "pareto.html").as_uri())
    table = tab.locator("#list-second_screening table")
    dearest = table.locator("tbody tr").first.inner_text()
    heading = table.get_by_role("columnheader", name="value (JPY)")
    assert heading.get_attribute("aria-sort") is None
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert table.locator("tbody tr").first.inner_text() == dearest
    tab.keyboard.press("Enter")  # the button has the focus
    assert heading.get_attribute("aria-sort") == "ascending"
    assert table.locator("tbody tr").last.inner_text() == dearest
    tab.keyboard.press("Tab")
    tab.keyboard.press("Space")
    assert heading.get_attribute("aria-sort") is None
    assert table.locator("[aria-sort]").inner_text() == "value share"


def test_without_script_a_list_is_in_the_order_given(published_world, browser):
    tab = browser.new_page(java_script_enabled=False)
    tab.goto((published_world / "pareto.html").as_uri())
    shown = tab.locator("#list-second_screening tbody th").all_text_contents()
    with (published_world / "lists" / "pareto_second_screening.csv").open(encoding="utf-8-sig", newline="") as file:
        given = [row["customer_id"].removeprefix("'") for row in csv.DictReader(file)][: len(shown)]
    assert [name for name in given if name in shown] == [name for name in shown if name in given]
    assert len({*given} & {*shown}) >= 5  # others are cut short, or marked as written from right to left
    assert tab.get_by_role("button").count() == 0
    tab.close()


def test_a_reader_gets_from_the_index_to_a_page_and_back(published, tab):
    tab.goto((published / "index.html").as_uri())
    tab.get_by_role("link", name="Which tier does each customer belong to").first.click()
    assert tab.locator("h1").inner_text() == "Which tier does each customer belong to, and who has moved?"
    tab.get_by_text("How this was computed").click()
    assert tab.get_by_text("fingerprint").is_visible()
    tab.get_by_role("link", name="All pages of this report").click()
    assert tab.locator("h1").inner_text() == "CDNOW music store: our customers as of 1998-06-30"


@pytest.mark.parametrize("name", ["index", "pyramid"])
def test_by_keyboard_a_reader_skips_to_the_text(published, tab, name):
    tab.goto((published / f"{name}.html").as_uri())
    tab.keyboard.press("Tab")
    skip = tab.locator(":focus")
    assert skip.inner_text() == "To the text"
    assert skip.bounding_box()["x"] >= 0
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.querySelector('main').contains(document.activeElement)")


def test_the_widest_table_is_whole_on_paper(folder, tab, tmp_path):
    def columns(page):
        return max((head.count("<th") for head in re.findall("<thead>.*?</thead>", page.read_text("utf-8"))), default=0)

    tab.goto(max(folder.glob("*.html"), key=columns).as_uri())
    last = tab.locator("table").evaluate_all(
        "tables => [...tables.sort((a, b) => b.rows[0].cells.length - a.rows[0].cells.length)[0].rows]"
        ".map(row => [...row.cells].at(-1).textContent)"
    )
    tab.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
    words, places = "", []

    def visit(text, user, place, *_):
        if text.strip():
            places.append(user[0] * place[4] + user[2] * place[5] + user[4])

    for sheet in pypdf.PdfReader(tmp_path / "page.pdf").pages:
        assert [round(side) for side in sheet.mediabox[2:]] == [595, 842]
        words += sheet.extract_text(visitor_text=visit)
    margin = 16 / 25.4 * 72
    assert margin - 1 < min(places) < max(places) < 595 - margin
    cells = re.compile(".*?".join(re.escape("".join(text.split())) for text in last), re.DOTALL)
    assert cells.search("".join(words.split())), last


def test_names_in_all_scripts_are_on_paper(published_world, tab, tmp_path):
    tab.goto((published_world / "pareto.html").as_uri())
    cells = tab.locator("td").all_text_contents()
    shown = [name for name in world.NAMES if any(name in cell for cell in cells)]
    assert len(shown) > 8
    tab.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
    letters = plain("".join(sheet.extract_text() for sheet in pypdf.PdfReader(tmp_path / "page.pdf").pages))
    for name in map(plain, shown):
        joined = {letter for letter in name if "\u0590" <= letter < "\u0e00"}
        # of these a font joins and moves some, and draws some lines from their other end
        assert len(joined & {*letters}) > len(joined) / 2 if joined else name in letters, name


def plain(text: str) -> str:
    """A text without blanks, and with the letters for the shapes in which a font draws them."""
    return "".join(unicodedata.normalize("NFKC", text).split())
