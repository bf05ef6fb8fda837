"""The page in a real browser."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import data_type, images, node, pipeline, store
from tests.integration.browsing import PICTURES, errors, text, until
from ziggy_dask.interface.page.actions import ACTIONS
from ziggy_dask.interface.page.token import page_token
from ziggy_dask.records.overview import scoreboard

pytestmark = pytest.mark.browser

GATED = """
import time
from pathlib import Path

def measure(image):
    name = str(image["item"].values[0])
    while not Path("PLACE", f"go-{name}").exists():
        time.sleep(0.02)
    if name == "i9" and not Path("PLACE", "fixed").exists():
        raise ValueError("too dark")
    return image
"""


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
    for action in ACTIONS:
        assert not browser.find_elements("css selector", f"[data-do='{action}']")
        forged = (
            "document.getElementById('answer').textContent = '';"
            f"const b = document.createElement('button'); b.dataset.do = '{action}';"
            "b.dataset.value = '1'; document.body.append(b); b.click(); b.remove();"
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

    browser.find_element("css selector", "#instances [data-do=restart]").click()
    until(browser, lambda: "ziggy cluster start" in text(browser, "answer"))
    browser.find_element("css selector", "[data-do=acknowledge]").click()
    until(browser, lambda: "alerts: none unseen" in text(browser, "lights"))
    assert all(one.is_acknowledged for one in failed.alerts)
    assert errors(browser) == []


def test_the_page_plays_an_instance_back(failed, address, browser):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    def shown(words, bars):
        return words in text(browser, "scoreboard") and bars == len(
            browser.find_elements("css selector", "#timeline rect title")
        )

    browser.get(re.sub("token=.*", "", address))
    until(browser, lambda: shown("2/3 (1)", 3))
    slider = browser.find_element("id", "slider")
    slider.send_keys(Keys.HOME)
    until(browser, lambda: shown("no tasks", 0))
    assert "after 0.0 s" in text(browser, "moment")
    Select(browser.find_element("id", "pace")).select_by_value("10")
    browser.find_element("id", "play").send_keys(Keys.SPACE)
    until(browser, lambda: browser.find_element("id", "play").text == "pause")
    until(browser, lambda: browser.find_element("id", "play").text == "play")
    until(browser, lambda: shown("2/3 (1)", 3))
    assert "as of" in text(browser, "moment")
    assert float(slider.get_attribute("value")) == 1
    browser.find_element("css selector", "#replay [data-do=at]").click()
    until(browser, lambda: "as it is now" in text(browser, "moment"))
    assert errors(browser) == []


@pytest.fixture
def dashboard(cluster):
    """The address of the dashboard of a supervisor whose worker runs four at once."""
    file = cluster._site.cluster.path
    text = file.read_text().replace("{workers: 2}", "{workers: 1, threads: 4}")
    file.write_text(text)
    command = [sys.executable, "-m", "ziggy_dask", "--cluster", str(file)]
    command += ["cluster", "serve"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "dashboard: " in line:
                yield line.split("dashboard: ")[1].strip()
                break
        process.terminate()
        process.stderr.read()


def test_the_page_in_the_dashboard_shows_a_running_instance(
    cluster, code, dashboard, browser, tmp_path
):
    image, out = data_type("image", "in"), data_type("out", "out", external=False)
    root = code(GATED.replace("PLACE", str(tmp_path)))
    cluster.register(
        pipeline(root, image, out, node("measure", "measure", "image", "out"))
    )
    bad = images(1).assign_coords(item=["i9"])
    store(cluster, {"set-1/in": images(3), "set-2/in": bad})
    database = cluster._site.database

    def shown(complete, failed):
        """Tell whether records and page both have so many subtasks of four."""
        (score,) = scoreboard(database, 1) or (None,)
        marks = f" ({failed})" if failed else ""
        return (
            score is not None
            and (score.complete, score.failed, score.subtasks) == (complete, failed, 4)
            and f"{complete}/4{marks}" in text(browser, "scoreboard")
        )

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(cluster.run, "test")
        try:
            browser.set_window_size(1280, 1400)
            browser.get(dashboard)
            until(
                browser, lambda: browser.find_elements("css selector", "[href=ziggy]")
            )
            browser.find_element("css selector", "[href=ziggy]").click()
            until(browser, lambda: shown(0, 0))
            assert "pipelines: running" in text(browser, "lights")
            assert "read only" in text(browser, "mode")
            (tmp_path / "go-i0").touch()
            until(browser, lambda: shown(1, 0))
            (tmp_path / "go-i9").touch()
            until(browser, lambda: shown(1, 1))
            until(browser, lambda: "running with errors" in text(browser, "lights"))
        finally:
            for name in ("i0", "i1", "i2", "i9"):
                (tmp_path / f"go-{name}").touch()
        running.result()
    until(browser, lambda: shown(3, 1))
    until(browser, lambda: "pipelines: stalled" in text(browser, "lights"))
    until(browser, lambda: "failed, 3/4" in text(browser, "graph"))
    PICTURES.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(PICTURES / "dashboard.png"))
    browser.get(
        f"{dashboard.rpartition('/')[0]}/ziggy?token={page_token(cluster.home)}"
    )
    until(browser, lambda: "too dark" in text(browser, "failures"))
    assert "read only" in text(browser, "mode")
    assert not browser.find_elements("css selector", "[data-do=acknowledge]")
    (tmp_path / "fixed").touch()
    ACTIONS["restart"](cluster._site, 1)
    until(browser, lambda: shown(4, 0))
    until(browser, lambda: "complete, 4/4" in text(browser, "graph"))
    assert [one for one in errors(browser) if "/ziggy" in one] == []
