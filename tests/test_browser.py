"""The report in a real browser: slider, hover, legend, no errors, no requests, no sideways scrolling."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exitnas.cli.reproduce import command_line
from exitnas.reporting.report.page import write_report
from exitnas.training.runs import Run
from exitnas.training.truncated import train_truncated

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)


@pytest.fixture(scope="module")
def page(retrained, searched, world, silent, tmp_path_factory) -> Path:
    """The report of a trained run, a search and a truncated baseline."""
    folder = tmp_path_factory.mktemp("report")
    cut = Run.create(folder / "layers-2")
    train_truncated(world.retrain(epochs=1), world.genotype(), 2, cut, silent)
    output = folder / "report.html"
    runs = [retrained["run"], searched["run"]]
    write_report(output, runs, baselines=[cut.path], reproduce=command_line, device="cpu")
    return output


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Any]:
    """A headless browser that keeps its console and network logs."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service

    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no chromium with chromedriver on PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(executable_path=driver))
    yield started
    started.quit()


def opened(browser: Any, page: Path, width: int = 1280, scheme: str = "light", scripts: bool = True) -> Any:
    """The browser at the page, as wide as asked for."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())
    return browser


def find(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def shown(browser: Any, name: str) -> str:
    return find(browser, f".tradeoff [data-out={name}]").text


def values(browser: Any) -> dict[str, Any]:
    return json.loads(find(browser, "#values").get_attribute("textContent"))["run-1"]


def agrees(browser: Any, run: dict[str, Any], policy: str, index: int) -> None:
    """What the page shows is the point `index` of a policy."""
    score, layers, speedup, macs, setting, counts = run["curves"][policy][index]
    assert shown(browser, "policy") == policy
    assert shown(browser, "setting") == setting
    assert float(shown(browser, "score").split()[0]) == pytest.approx(100 * score, abs=0.051)
    assert float(shown(browser, "speedup").rstrip("×")) == pytest.approx(speedup, abs=0.0051)
    assert float(shown(browser, "layers").split()[0]) == pytest.approx(layers, abs=0.0051)
    assert float(shown(browser, "macs")) == pytest.approx(macs, abs=0.051)
    texts = browser.find_elements("css selector", ".tradeoff .histogram .count")
    assert [int(text.text) for text in texts] == counts
    told = ", ".join(f"layer {layer}: {count}" for layer, count in enumerate(counts, start=1))
    assert find(browser, ".tradeoff .histogram").get_attribute("aria-label").endswith(f"each layer: {told}")


def test_the_slider_shows_the_setting_it_stands_at(browser, page):
    from selenium.webdriver.common.keys import Keys

    opened(browser, page)
    run = values(browser)
    agrees(browser, run, run["policy"], run["index"])
    slider = find(browser, ".tradeoff input[type=range]")
    spot = find(browser, ".tradeoff .here").get_attribute("cx")
    slider.send_keys(Keys.END)
    last = len(run["curves"][run["policy"]]) - 1
    agrees(browser, run, run["policy"], last)
    assert find(browser, ".tradeoff .here").get_attribute("cx") != spot
    slider.send_keys(Keys.HOME)
    agrees(browser, run, run["policy"], 0)
    slider.send_keys(Keys.ARROW_RIGHT)
    agrees(browser, run, run["policy"], 1)
    score, layers, speedup, _, setting, _ = run["curves"][run["policy"]][1]
    told = f"{setting}, score {100 * score:.1f} %, speed-up {speedup:.2f}, {layers:.2f} of 3 layers"
    assert slider.get_attribute("aria-valuetext") == told
    assert run["curves"][run["policy"]][0] != run["curves"][run["policy"]][last]


def test_another_policy_starts_at_about_the_same_layers(browser, page):
    opened(browser, page)
    run = values(browser)
    layers = float(shown(browser, "layers").split()[0])
    find(browser, ".tradeoff select option:nth-child(1)").click()
    gaps = [abs(point[1] - layers) for point in run["curves"]["static"]]
    agrees(browser, run, "static", gaps.index(min(gaps)))


def test_hovering_a_curve_tells_its_values(browser, page):
    from selenium.webdriver import ActionChains

    opened(browser, page)
    run = values(browser)
    point = run["curves"]["static"][1]
    chart = find(browser, ".tradeoff .chart")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    for box in browser.find_elements("css selector", ".toggles input"):
        if box.get_attribute("data-policy") != "static":
            box.click()
    assert len(browser.find_elements("css selector", ".tradeoff .series:not(.off)")) == 2  # one per chart
    left, top, right, bottom = map(float, chart.get_attribute("data-frame").split())
    x_range, y_range = ([float(v) for v in chart.get_attribute(f"data-{axis}").split()] for axis in "xy")
    x = left + (point[1] - x_range[0]) / (x_range[1] - x_range[0]) * (right - left)
    y = bottom - (100 * point[0] - y_range[0]) / (y_range[1] - y_range[0]) * (bottom - top)
    wide, high = map(float, chart.get_dom_attribute("viewBox").split()[2:])
    scale = chart.size["width"] / wide
    ActionChains(browser).move_to_element_with_offset(
        chart, round((x - wide / 2) * scale), round((y - high / 2) * scale)
    ).perform()
    tip = find(browser, "#tip")
    assert tip.is_displayed()
    assert f"static: {point[4]}" in tip.text
    assert f"{100 * point[0]:.1f} %" in tip.text
    assert f"{point[1]:.2f} layers" in tip.text
    ActionChains(browser).move_to_element(find(browser, "h3")).perform()
    assert not tip.is_displayed()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_stays_within_the_window_and_can_be_read(browser, page, width, scheme):
    opened(browser, page, width, scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(CONTRAST) == []


def test_it_fits_on_paper_and_prints_dark_on_light(browser, page):
    opened(browser, page, 720, "dark")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 720
    assert [one for one in browser.find_elements("css selector", ".needs-js") if one.is_displayed()] == []
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


CONTRAST = """
const light = (color) => {
  const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map(Number).map((v) => v / (color.startsWith("rgb") ? 255 : 1))
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const clear = (color) => color === "transparent" || /, 0\\)$/.test(color);
const low = [];
const kinds = "h1, h2, h3, h4, p, dt, dd, th, td, li, a, summary, button, select, figcaption, caption, small";
for (const one of document.querySelectorAll(kinds)) {
  if (!one.offsetParent || !one.textContent.trim()) continue;
  let behind = one;
  while (behind && clear(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
  const [a, b] = [getComputedStyle(one).color, getComputedStyle(behind || document.body).backgroundColor].map(light)
    .sort((p, q) => q - p);
  if ((a + 0.05) / (b + 0.05) < 4.5) low.push(one.tagName + " " + one.textContent.trim().slice(0, 30));
}
return low;
"""


def test_no_error_and_no_request(browser, page):
    browser.get_log("browser")
    browser.get_log("performance")
    opened(browser, page)
    find(browser, ".tradeoff select option:last-child").click()
    assert browser.get_log("browser") == []
    events = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    requests = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert page.as_uri() in requests
    assert {url for url in requests if not url.startswith("data:")} == {page.as_uri()}


def test_without_scripts_everything_is_there_but_the_controls(browser, page):
    try:
        opened(browser, page, scripts=False)
        assert [one for one in browser.find_elements("css selector", ".needs-js") if one.is_displayed()] == []
        assert len(browser.find_elements("css selector", ".tradeoff .series .line")) >= 8
        run = values(browser)
        agrees(browser, run, run["policy"], run["index"])
        find(browser, "details:nth-of-type(1) summary").click()
        assert "entropy" in find(browser, "main").text
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
