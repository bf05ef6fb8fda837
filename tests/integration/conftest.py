"""A browser, and clusters whose page it looks at."""

import pytest

from tests.conftest import data_type, images, node, pipeline, store

ALGORITHM = """
def measure(image):
    if str(image["item"].values[0]) == "i1":
        raise ValueError("<b>too dark</b>")
    return image
"""


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
    from tests.integration.browsing import served

    with served(failed) as found:
        yield found


@pytest.fixture
def browser(tmp_path):
    """Chromium without a window."""
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
