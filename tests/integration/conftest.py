"""The sample at home, a browser and what it looks at, missions whose processes are killed."""

import subprocess

import psutil
import pytest

from tests.conftest import data_type, images, node, pipeline, store
from tests.integration.killing import ALGORITHMS
from tests.integration.mission import COUNT, Mission
from tests.integration.sample import run_sample

ALGORITHM = """
def measure(image):
    if str(image["item"].values[0]) == "i1":
        raise ValueError("<b>too dark</b>")
    return image
"""


@pytest.fixture(scope="session")
def sample_at_home(tmp_path_factory):
    """A cluster on this machine that ran the sample: what others must come to, unchanged."""
    return run_sample(tmp_path_factory.mktemp("sample") / "here", "")


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


@pytest.fixture
def make_mission(tmp_path, code):
    """Make missions; end at last what is left of them."""
    made: list[Mission] = []
    place = tmp_path / "place"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", place],
        capture_output=True,
        check=False,
    )

    def make(
        seed: int, database: str = "", count: int = COUNT, algorithms: str = ALGORITHMS
    ) -> Mission:
        is_mounted = mounted.returncode == 0
        mission = Mission(
            tmp_path, place, seed, is_mounted=is_mounted, database=database
        )
        made.append(mission)
        mission.prepare(code(algorithms), count)
        return mission

    yield make
    for mission in made:
        mission.cluster._site.database.close()
        left = mission.family()
        for process in left:
            process.kill()
        psutil.wait_procs(left, timeout=30)
    if mounted.returncode == 0:
        subprocess.run(["umount", "--lazy", place], check=True)
