"""The pages in a real browser: three widths, light and dark. Needs Chromium and its driver."""

import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from fmri2img.evaluation.metrics.catalogue import ADAPTATION_METRICS as NEW_SCORES
from fmri2img.models.registry import model_names
from fmri2img.viz.adaptation import adaptation_page
from miniature import PAIR, SUBJECT

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="Chromium and its driver are not installed"
)
ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    # What a browser asks the network for on its own.
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-quic", "--no-first-run"),
)
WIDTHS = (400, 1280, 1920)
SCHEMES = ("light", "dark")
IS_SEEN = """
const isSeen = element => element.checkVisibility({ contentVisibilityAuto: true });
"""
# Text whose colour differs too little from what lies behind it (WCAG 2.1, 1.4.3; 3 for large text).
CONTRAST = (
    IS_SEEN
    + """
const linear = value => value <= .04045 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4;
const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) =>
  .2126 * linear(r / 255) + .7152 * linear(g / 255) + .0722 * linear(b / 255);
const behind = element => {
  for (let one = element; one; one = one.parentElement) {
    const [r, g, b, a = 1] = parse(getComputedStyle(one).backgroundColor);
    if (a > .99) return [r, g, b];
  }
  return matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
};
const faults = [];
for (const element of document.querySelectorAll("body *")) {
  const text = [...element.childNodes].filter(node => node.nodeType === 3)
    .map(node => node.data.trim()).join("");
  if (!text || !isSeen(element) || element.closest("script, style, dialog")) continue;
  const style = getComputedStyle(element);
  const pair = [light(parse(style.color)), light(behind(element))].sort((a, b) => b - a);
  const ratio = (pair[0] + .05) / (pair[1] + .05);
  const size = parseFloat(style.fontSize);
  const isLarge = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
  if (ratio < (isLarge ? 3 : 4.5)) faults.push(`${ratio.toFixed(2)}: ${text.slice(0, 40)}`);
}
return faults;
"""
)
# Words that lie over one another.
OVERLAPS = (
    IS_SEEN
    + """
const boxes = [];
for (const element of document.querySelectorAll("main *, header *, nav *")) {
  if (!isSeen(element) || element.closest(".controls, dialog, iframe")) continue;
  for (const node of element.childNodes) {
    if (node.nodeType !== 3 || !node.data.trim()) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects())
      if (box.width > 2 && box.height > 2) boxes.push([box, element, node.data.trim()]);
  }
}
boxes.sort((a, b) => a[0].top - b[0].top);
const faults = [];
for (let i = 0; i < boxes.length; i++)
  for (let j = i + 1; j < boxes.length && boxes[j][0].top < boxes[i][0].bottom; j++) {
    const [a, b] = [boxes[i][0], boxes[j][0]];
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (across > 3 && down > .4 * Math.min(a.height, b.height))
      faults.push(`${boxes[i][2].slice(0, 30)} / ${boxes[j][2].slice(0, 30)}`);
  }
return faults.slice(0, 5);
"""
)
FITS = "return [document.documentElement.scrollWidth, innerWidth]"
SHOWN_MEANS = """
return [...document.querySelectorAll("#images section")].map(section => {
  const scores = [...section.querySelectorAll(".tile:not([hidden])")]
    .map(tile => tile.dataset.score).filter(score => score !== "").map(Number);
  return scores.reduce((sum, score) => sum + score, 0) / scores.length;
});
"""
LOADED = """
return [...document.querySelectorAll("#images img")].map(
  one => one.complete && one.naturalWidth > 0);
"""
BUTTONS = """
const names = [];
for (const button of document.querySelectorAll("button")) {
  if (!button.checkVisibility() || button.closest("dialog")) continue;
  button.click();
  names.push(button.textContent.trim() || button.getAttribute("aria-label"));
  document.querySelectorAll("dialog[open]").forEach(dialog => dialog.close());
}
return names;
"""


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def write_new_person(path):
    """The page of a new person, with made-up numbers."""
    scores = {name: {"value": 0.2, "low": 0.1, "high": 0.3, "floor": 0} for name in NEW_SCORES}
    durations = [
        {"minutes": minutes, "n_trials": 15 * minutes, "error_stated": 0.9, "error_measured": 0.9}
        | scores
        for minutes in (5, 10)
    ]
    gain = {"from_minutes": 5, "to_minutes": 10, NEW_SCORES[0]: 0.1, "low": 0.0, "high": 0.2}
    numbers = {
        "subject": "subj09",
        "data_source": "simulated",
        "origin": "Made up.",
        "population": ["subj01"],
        "regions": ["V1v", "V1d"],
        "durations": durations,
        "gains": [gain],
        "chosen_by_ncsnr": True,
        "stops_paying_after": 5,
    }
    counts = dict.fromkeys(("n_trials", "n_images", "n_judged", "n_voxels"), 150)
    path.write_text(adaptation_page(numbers | counts))
    return path


@pytest.fixture(scope="module")
def pages(project, template, tmp_path_factory) -> list[Path]:
    """One page of each kind."""
    reports = project / "reports"
    one_of = [
        sorted((reports / folder).rglob("*.html")) for folder in ("runs", "gallery", "brains")
    ]
    whole = [reports / f"{name}.html" for name in ("index", "comparison", "pictures")]
    with_posterior = template / f"reports/runs/{SUBJECT}/bayes.html"
    new_person = write_new_person(tmp_path_factory.mktemp("new") / "adaptation.html")
    return [*whole, *(found[0] for found in one_of), with_posterior, new_person]


@pytest.fixture(scope="module")
def long_names(project, tmp_path_factory) -> list[Path]:
    """The tables of scores as they are with the longest name of an encoder."""
    folder, longest = tmp_path_factory.mktemp("long"), max(model_names(), key=len)
    written = []
    for name in ("index", "comparison"):
        text = (project / f"reports/{name}.html").read_text()
        assert PAIR[1] in text
        written.append(folder / f"{name}.html")
        written[-1].write_text(text.replace(PAIR[1], longest))
    return written


def look(browser, page, width=1280, scheme="light"):
    """Open a page as a window of this width and these colours shows it."""
    assert page.is_file()  # of one that is not there a browser shows a page of its own
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get_log("browser")  # of the page before
    browser.get(page.as_uri())


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_are_readable_at_any_width(browser, pages, long_names, width, scheme):
    for page in (*pages, *long_names):
        look(browser, page, width, scheme)
        where = f"{page.name}, {width} px, {scheme}"
        assert browser.execute_script(CONTRAST) == [], where
        assert browser.execute_script(OVERLAPS) == [], where
        needed, there = browser.execute_script(FITS)
        assert needed <= there, f"{where}: the page is {needed} px wide"
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_every_link_leads_somewhere_and_every_button_works(browser, pages):
    for page in pages:
        look(browser, page)
        links = browser.execute_script(
            "return [...document.querySelectorAll('a[href]')].map(link => link.href)"
        )
        for link in links:
            parts = urlsplit(link)
            if parts.scheme == "file":
                assert Path(unquote(parts.path)).is_file(), f"{page.name}: {link}"
        names = browser.execute_script(BUTTONS)
        has_buttons = page.name in ("index.html", "pictures.html") or "gallery" in page.parts
        assert bool(names) == has_buttons
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_choice_stands_in_the_address_and_is_shown_again(browser, project):
    page = project / "reports/pictures.html"
    look(browser, page)
    browser.find_element("css selector", "[data-role=sort] [data-value=worst]").click()
    address = browser.current_url
    assert "sort=worst" in address
    shown = "return [...document.querySelectorAll('#images h2')].map(head => head.textContent)"
    before = browser.execute_script(shown)
    browser.get("about:blank")
    browser.get(address)
    assert browser.execute_script(shown) == before
    means = browser.execute_script(SHOWN_MEANS)
    assert means == sorted(means)
    assert means[0] < means[-1]
    # Sorted by what is shown.
    browser.find_element("css selector", "[data-role=model] [data-value=ridge]").click()
    of_ridge = browser.execute_script(SHOWN_MEANS)
    assert of_ridge == sorted(of_ridge) != means


def test_a_heading_sorts_the_first_page_and_the_address_keeps_it(browser, project):
    look(browser, project / "reports/index.html")
    cells = (
        "return [...document.querySelectorAll('table.scores tbody tr')]"
        ".map(row => row.cells[{}].dataset.value)"
    )
    for column, convert in ((1, str), (2, float)):
        browser.find_elements("css selector", "table.scores th button")[column].click()
        first = [convert(value) for value in browser.execute_script(cells.format(column))]
        browser.find_elements("css selector", "table.scores th button")[column].click()
        second = [convert(value) for value in browser.execute_script(cells.format(column))]
        assert sorted(first) == sorted(second) == min(first, second)
        assert first == second[::-1] != second
    address = browser.current_url
    browser.get("about:blank")
    browser.get(address)
    assert [float(value) for value in browser.execute_script(cells.format(2))] == second


def test_a_gallery_is_sorted_by_any_score_either_way(browser, project):
    look(browser, project / f"reports/gallery/{SUBJECT}/ridge.html")
    shown = (
        "return [...document.querySelectorAll('main figure')].filter(one => !one.hidden)"
        ".map(one => Number(one.dataset.scores.split(' ')[{}]))"
    )
    for number in (0, 1):
        orders = []
        for order in ("best", "worst"):
            for role, value in (("sort", number), ("order", order)):
                selector = f"[data-role={role}] [data-value='{value}']"
                browser.find_element("css selector", selector).click()
            orders.append(browser.execute_script(shown.format(number)))
        assert orders[0] == sorted(orders[0], reverse=True)
        assert orders[1] == sorted(orders[1]) != orders[0]


@pytest.mark.parametrize(
    ("page", "items"),
    [("pictures.html", "#images section"), (f"gallery/{SUBJECT}/ridge.html", "main figure")],
)
def test_keys_enlarge_and_move(browser, project, page, items):
    from selenium.webdriver.common.keys import Keys

    look(browser, project / "reports" / page)
    shown = [one for one in browser.find_elements("css selector", items) if one.is_displayed()]
    shown[0].send_keys(Keys.ENTER)
    head = browser.find_element("css selector", "dialog[open] h2")
    first = head.text
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert head.text != first
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not browser.find_elements("css selector", "dialog[open]")
    shown[1].find_element("css selector", "img").click()
    assert browser.find_elements("css selector", "dialog[open] img")
    browser.find_element("css selector", "dialog [data-role=close]").click()


def test_pictures_are_loaded_as_they_come_into_view(browser, project):
    from selenium.webdriver.support.ui import WebDriverWait

    look(browser, project / "reports/pictures.html", width=400)
    # A picture that is loaded lazily may arrive after the page has.
    states = WebDriverWait(browser, 30).until(
        lambda one: (loaded := one.execute_script(LOADED))[0] and loaded
    )
    assert not all(states)
    browser.execute_script("[...document.querySelectorAll('#images img')].at(-1).scrollIntoView()")
    WebDriverWait(browser, 30).until(lambda one: one.execute_script(LOADED)[-1])
