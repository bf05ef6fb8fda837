"""The page in a real browser."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import data_type, images, node, pipeline, store
from ziggy_dask.records.overview import scoreboard

pytestmark = pytest.mark.browser

ALGORITHM = """
def measure(image):
    if str(image["item"].values[0]) == "i1":
        raise ValueError("<b>too dark</b>")
    return image
"""
PICTURES = Path(__file__).parents[2] / "build" / "screenshots"
LIMIT_S = 60


@pytest.fixture
def failed(cluster, code, client):
    """A cluster with an instance of which one subtask failed."""
    image, out = data_type("image", "in"), data_type("out", "out", external=False)
    cluster.register(
        pipeline(
            code(ALGORITHM), image, out, node("measure", "measure", "image", "out")
        )
    )
    store(cluster, {"set-1/in": images(3)})
    cluster.run("test", client=client)
    return cluster


@pytest.fixture
def address(failed):
    """The address, with the token, of the page that `ziggy console` serves."""
    file = failed._site.cluster.path
    command = [sys.executable, "-m", "ziggy_dask", "--cluster", str(file), "console"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().strip()
        process.terminate()


@pytest.fixture
def browser(tmp_path):
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for word in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update"),
        *("disable-sync", "disable-dev-shm-usage"),
        f"user-data-dir={tmp_path}/chromium",
    ):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=ChromeService("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


def until(browser, holds):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, LIMIT_S).until(lambda _: holds())


def text(browser, panel):
    return browser.find_element("id", panel).text


def test_the_page_shows_the_records_and_acts_only_with_the_token(
    failed, address, browser
):
    database = failed._site.database
    (score,) = scoreboard(database, 1)
    assert (score.complete, score.failed, score.tasks.failed) == (2, 1, 1)
    PICTURES.mkdir(parents=True, exist_ok=True)

    # Without the token, or with a wrong one, it can only be read.
    browser.get(re.sub("token=.*", "token=wrong", address))
    until(browser, lambda: "measure" in text(browser, "scoreboard"))
    assert not browser.find_elements("css selector", "[data-do=acknowledge]")
    forged = (
        "const b = document.createElement('button'); b.dataset.do = 'acknowledge';"
        "b.dataset.value = '1'; document.body.append(b); b.click();"
    )
    browser.execute_script(forged)
    until(browser, lambda: "read only" in text(browser, "answer"))
    assert not any(one.is_acknowledged for one in failed.alerts)

    browser.get(address)
    until(browser, lambda: "2/3 (1)" in text(browser, "scoreboard"))
    assert "pipelines: stalled" in text(browser, "lights")
    assert "<b>too dark</b>" in text(browser, "failures")
    until(browser, lambda: "failed, 2/3" in text(browser, "graph"))
    bars = browser.find_elements("css selector", "#timeline title")
    ends = [one.get_attribute("textContent") for one in bars]
    assert len(ends) == 3
    assert sum("1 failed" in one for one in ends) == 1
    assert "measure" in text(browser, "durations")
    browser.find_element("css selector", "#tasks [data-do=log]").click()
    until(browser, lambda: "ValueError: <b>too dark</b>" in text(browser, "log"))
    for width in (1280, 1920):
        browser.set_window_size(width, 1400)
        wide = browser.execute_script("return document.body.scrollWidth")
        assert wide <= width
        browser.save_screenshot(str(PICTURES / f"page-{width}.png"))

    browser.find_element("css selector", "[data-do=acknowledge]").click()
    until(browser, lambda: "alerts: none unseen" in text(browser, "lights"))
    assert all(one.is_acknowledged for one in failed.alerts)
    errors = [one for one in browser.get_log("browser") if one["level"] == "SEVERE"]
    assert errors == []
