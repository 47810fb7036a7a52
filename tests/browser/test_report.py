"""The report page in a real Chromium: wide and narrow, light and dark, by keyboard, without a network."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from runtime.local.pipeline import Options, run_file
from tests.fakes.pipelines import write_component, write_pipeline

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # 1 x 1, red
COURSE = (
    'for i in 1 2 3; do echo \'{"kind": "metric", "key": "loss", "value": \'0.$i\', "step": \'$i\'}\' >> $NGCRUN_METRICS_FILE; done; '
    'echo \'{"kind": "metric", "key": "rows", "value": 42, "step": 0}\' >> $NGCRUN_METRICS_FILE; '
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a failed step, a taken-over one, figures, a picture, and text that would break a careless page."""
    folder = tmp_path_factory.mktemp("report")
    picture = f"echo {PNG} | base64 -d > ${{{{outputs.out}}}}/plot.png; "
    write_component(
        folder, command=COURSE + picture + "echo '<script>alert(1)</script> & <b>'; echo x > ${{outputs.out}}/x"
    )
    write_component(folder, "bad", command="echo '</pre><img src=x onerror=alert(1)>' >&2; exit 5")
    a = "${{parent.jobs.prepare.outputs.out}}"
    jobs = {
        "prepare": {"inputs": {"text": "${{parent.inputs.word}}"}},
        "train": {"inputs": {"data": a}},
        "check_with_quite_a_long_name": {"component": "./bad.yaml", "inputs": {"data": a}},
        "never": {"inputs": {"data": "${{parent.jobs.check_with_quite_a_long_name.outputs.out}}"}},
    }
    path = write_pipeline(folder, jobs, inputs={"word": "a"})
    for word in "ab":  # the second time one step is taken over and one has another input
        assert (
            run_file(path, {"word": "<i>" if word == "b" else word}, Options(mlflow=False, runs=folder / "runs"))
            == 2 + 1
        )
    return max(folder.glob("runs/*/report.html"), key=lambda p: p.stat().st_mtime_ns)


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("Chromium and its driver are not on this machine; apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    with tempfile.TemporaryDirectory(prefix="ngcrun-chromium-", ignore_cleanup_errors=True) as profile:
        for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
                     "--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}"):  # fmt: skip
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        yield found
        found.quit()


def show(browser: webdriver.Chrome, page: Path, *, width: int = 1200, dark: bool = False) -> None:
    """Open the page at a width, in a colour scheme."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get(page.as_uri())


def colours(browser: webdriver.Chrome) -> tuple[float, float]:
    """Brightness of paper and ink, 0..255."""
    script = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
    texts = [text[text.index("(") + 1 : -1].split(",")[:3] for text in browser.execute_script(script)]
    paper, ink = (sum(float(part) for part in parts) / 3 for parts in texts)
    return paper, ink


def test_the_page_shows_the_run_and_asks_the_network_for_nothing(browser: webdriver.Chrome, page: Path) -> None:
    show(browser, page)
    assert browser.title == "pipe: failed"
    boxes = browser.find_elements(By.CSS_SELECTOR, "svg.graph a")
    assert boxes[0].find_element(By.TAG_NAME, "text").text == "prepare"
    assert len(boxes) == 4
    assert len(browser.find_elements(By.CSS_SELECTOR, "svg.graph path.edge")) == 3
    states = [b.find_element(By.TAG_NAME, "rect").get_attribute("class").split()[1] for b in boxes]
    assert states[0] == "completed"
    assert "reused" in states
    assert {"failed", "skipped"} <= set(states)
    assert browser.find_element(By.CSS_SELECTOR, ".why").text == "</pre><img src=x onerror=alert(1)>"
    assert len(browser.find_elements(By.CSS_SELECTOR, "svg.plot polyline")) == 2
    shown = [image for image in browser.find_elements(By.TAG_NAME, "img") if image.get_property("naturalWidth") == 1]
    assert len(shown) == 2  # the picture of both completed steps, and none that a log put there
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in urls if not url.startswith(("file:", "data:", "chrome:"))] == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.parametrize("dark", [False, True])
def test_it_follows_the_colour_scheme_and_stays_readable(browser: webdriver.Chrome, page: Path, dark: bool) -> None:
    show(browser, page, dark=dark)
    paper, ink = colours(browser)
    assert (paper < 60) == dark
    assert abs(paper - ink) > 150


def test_it_fits_a_phone(browser: webdriver.Chrome, page: Path) -> None:
    show(browser, page, width=375)
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= 375, wide
    size = browser.execute_script("return parseFloat(getComputedStyle(document.body).fontSize)")
    assert size >= 16


def test_everything_can_be_reached_and_opened_by_keyboard(browser: webdriver.Chrome, page: Path) -> None:
    show(browser, page)
    seen: list[Any] = []
    for _ in range(60):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        element = browser.switch_to.active_element
        kind = element.tag_name + ":" + (element.text or element.get_attribute("aria-label") or "")[:24]
        if element.tag_name == "summary":
            element.send_keys(Keys.ENTER)
        seen.append(kind)
    assert seen[0] == "a:to the steps"
    assert any(kind.startswith("summary:log") for kind in seen)
    opened = browser.find_elements(By.CSS_SELECTOR, "details[open] pre")
    assert any("<script>alert(1)</script> & <b>" in pre.text for pre in opened)
    outline = browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
