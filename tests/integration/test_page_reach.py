"""Who reaches the page, and how: all panels, by keyboard, not from other origins."""

import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.integration.browsing import PICTURES, errors, served, text, until
from ziggy_dask.definitions import JobState, JobStatus
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.records.jobs import add_job, note_job

pytestmark = pytest.mark.browser

SAMPLE = Path(__file__).parents[2] / "pipelines" / "sample"
PANELS = (
    *("replay", "scoreboard", "instances", "graph", "tasks", "log", "timeline"),
    *("workers", "memory", "durations", "alerts", "failures", "datastore", "jobs"),
    "deliveries",
)
LEAST_PX = 9
"""Smaller letters are not readable."""
MOST_TABS = 300
IS_WHOLE = """
const all = [arguments[0], ...arguments[0].querySelectorAll("div, table, svg, img")];
return all.every((one) => one.scrollWidth <= one.clientWidth + 1 || one.tagName == "svg");
"""
SMALLEST = """
const sizes = [...arguments[0].querySelectorAll("text, td, th, p, label, button")].map((one) => {
  const size = parseFloat(getComputedStyle(one).fontSize);
  const scale = one.ownerSVGElement ? one.getScreenCTM().a : 1;
  return size * scale;
});
return Math.min(...sizes, 99);
"""
FOREIGN = """<!DOCTYPE html><title>foreign</title><script>
const address = new URLSearchParams(location.search).get("address");
const page = new URL(address);
const found = {};
async function look() {
  found.read = await fetch(address).then((answer) => answer.text()).catch(() => "refused");
  // What a page may load from anywhere is a script; this one names a session.
  const script = await fetch(page.origin + "/ziggy/autoload.js?bokeh-autoload-element=x")
    .then((answer) => answer.text()).catch(() => "");
  const token = script.match(/"token":"([^"]+)"/)?.[1] ?? "none";
  found.session = token;
  const socket = new WebSocket(`ws://${page.host}/ziggy/ws`, ["bokeh", token]);
  found.talk = await new Promise((resolve) => {
    socket.onmessage = () => resolve("open");
    socket.onerror = () => resolve("refused");
  });
  document.title = "done";
}
look();
</script>"""


@pytest.fixture
def sample(tmp_path):
    """A cluster in which the sample ran, from its delivery, with a job in its records."""
    file = tmp_path / "cluster.yaml"
    file.write_text("cluster: mission\nhome: ./home\ncompute: {local: {workers: 2}}\n")
    cluster = create_cluster(file)
    root = tmp_path / "sample"
    shutil.copytree(SAMPLE, root, ignore=shutil.ignore_patterns("__py*"))
    receipt = cluster.home / "receipt"
    subprocess.run([sys.executable, SAMPLE / "draw.py", receipt], check=True)
    ziggy = [sys.executable, "-m", "ziggy_dask"]
    subprocess.run([*ziggy, "manifest", receipt, "--dataset-id", "1"], check=True)
    cluster.register(root)
    cluster.run("sample", name="First run")
    values = {"environment": "site", "architecture": "fast", "queue": "short"}
    job = add_job(
        cluster._site.database, instance_id=1, wall_s=3600, cost_per_hour=0.5, **values
    )
    for state in (JobState.RUNNING, JobState.ENDED):
        note_job(
            cluster._site.database,
            job.id,
            JobStatus(state=state, comment="well"),
            "4711",
        )
    return cluster


def click(browser, selector):
    browser.find_element("css selector", selector).click()


def test_every_panel_is_shown_whole_at_both_widths(sample, browser):
    PICTURES.mkdir(parents=True, exist_ok=True)
    with served(sample) as address:
        browser.get(re.sub("token=.*", "", address))
        until(browser, lambda: "permuter" in text(browser, "durations"))
        click(browser, "#tasks [data-do=log]")
        until(browser, lambda: "Task 1" in text(browser, "log"))
        for name in ("set-1", "L3"):
            until(
                browser,
                lambda n=name: browser.find_elements(
                    "xpath", f"//div[@id='datastore']//td/button[text()='{n}']"
                ),
            )
            browser.find_element(
                "xpath", f"//div[@id='datastore']//td/button[text()='{name}']"
            ).click()
        until(browser, lambda: browser.find_elements("css selector", "#datastore img"))
        assert "4711" in text(browser, "jobs")
        nodes = text(browser, "scoreboard").splitlines()
        assert nodes[2].split() == ["permuter", "0", "0", "2", "0", "2", "8/8"]
        assert nodes[-1].split() == ["0", "0", "7", "0", "7", "19/19"]
        for width in (1280, 1920):
            browser.set_window_size(width, 4000)  # so that nothing is scrolled to
            for panel in PANELS:
                section = browser.find_element("id", f"panel-{panel}")
                section.screenshot(str(PICTURES / f"{panel}-{width}.png"))
                assert browser.execute_script(IS_WHOLE, section), (panel, width)
                small = browser.execute_script(SMALLEST, section)
                assert small >= LEAST_PX, (panel, width, small)
            assert browser.execute_script("return document.body.scrollWidth") <= width
        assert errors(browser) == []


def test_all_is_reached_by_keyboard(failed, address, browser):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(key):
        ActionChains(browser).send_keys(key).perform()

    def go_to(selector):
        """Press the tab key until something has the focus, which must be seen."""
        matches = "return document.activeElement.matches(arguments[0])"
        for _ in range(MOST_TABS):
            press(Keys.TAB)
            if browser.execute_script(matches, selector):
                break
        else:
            pytest.fail(f"{selector} is not reached")
        outline = "return getComputedStyle(document.activeElement).outlineStyle"
        assert browser.execute_script(outline) != "none"

    browser.get(address)
    until(browser, lambda: "2/3 (1)" in text(browser, "scoreboard"))
    for panel in PANELS:
        go_to(f"nav a[href='#panel-{panel}']")
    press(Keys.ENTER)
    until(browser, lambda: browser.current_url.endswith(f"#panel-{PANELS[-1]}"))
    browser.execute_script("document.activeElement.blur()")
    go_to("#tasks [data-do=sort][data-value=failed], #panel-tasks [data-do=text]")
    press("set-2")
    until(browser, lambda: "No task" in text(browser, "tasks"))
    press(Keys.BACKSPACE)
    press("1")
    until(browser, lambda: "[set-1]" in text(browser, "tasks"))
    go_to("#tasks [data-do=sort][data-value=failed]")
    press(Keys.ENTER)
    until(browser, lambda: "failed ↑" in text(browser, "tasks"))
    press(Keys.ENTER)  # the heading was made anew, and has the focus still
    until(browser, lambda: "failed ↓" in text(browser, "tasks"))
    go_to("#tasks [data-do=log]")
    press(Keys.SPACE)
    until(browser, lambda: "too dark" in text(browser, "log"))
    go_to("#log pre")
    go_to("#alerts [data-do=acknowledge]")
    press(Keys.ENTER)
    until(browser, lambda: "alerts: none unseen" in text(browser, "lights"))
    go_to("#datastore button[data-value='set-1']")
    press(Keys.ENTER)
    until(
        browser,
        lambda: browser.find_elements(
            "css selector", "#datastore td [data-value='set-1/in']"
        ),
    )
    assert all(one.is_acknowledged for one in failed.alerts)
    assert errors(browser) == []


def test_a_page_of_another_origin_can_neither_read_nor_talk(
    failed, address, browser, tmp_path
):
    directory = tmp_path / "foreign"
    directory.mkdir()
    (directory / "index.html").write_text(FOREIGN)
    handler = partial(SimpleHTTPRequestHandler, directory=directory)
    found = "return found"
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            browser.get(f"http://127.0.0.1:{server.server_port}/?address={address}")
            until(browser, lambda: browser.title == "done")
            foreign = browser.execute_script(found)
        finally:
            server.shutdown()
    assert foreign["read"] == foreign["talk"] == "refused"
    # The same script can do both where it belongs, so what it tried was right.
    browser.get(address)
    until(browser, lambda: "2/3 (1)" in text(browser, "scoreboard"))
    script = FOREIGN.partition("<script>")[2].partition("</script>")[0]
    script = re.sub("const address = .*", "const address = location.href;", script)
    browser.execute_script(script.replace("const found = {}", "window.found = {}"))
    until(browser, lambda: browser.title == "done")
    own = browser.execute_script("return window.found")
    assert "<title>" in own["read"]
    assert own["talk"] == "open"
