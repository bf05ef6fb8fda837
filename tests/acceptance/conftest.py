"""What several acceptance tests look at."""

import shutil

import pytest

from tests.acceptance.mission import with_a_past


@pytest.fixture(scope="module")
def past(tmp_path_factory, client):
    """The directory of a mission with a history that nobody changes; copies are."""
    place = tmp_path_factory.mktemp("mission")
    with_a_past(place, client)
    return place


@pytest.fixture
def place(past, tmp_path):
    """The directory of a copy of it, to be changed."""
    shutil.copytree(past, tmp_path / "copy")
    return tmp_path / "copy"
