"""Code on workers that do not see the directory where it is."""

import shutil

import pytest
from distributed import Client, LocalCluster, get_worker, worker_client

from ziggy_dask.definitions import (
    code_place,
    code_version,
    load_function,
    read_code,
)
from ziggy_dask.workers import code_of, send_code

MODULE = """
    from .helpers.numbers import number


    def answer():
        return number
"""


def on_worker(client, root):
    """Return where a worker has the code, and what its function answers there."""

    def look():
        return code_place(root), load_function(root, "algorithms:answer")()

    return client.submit(look, pure=False).result()


def written(code, number):
    root = code(MODULE)
    (root / "helpers").mkdir(exist_ok=True)
    (root / "helpers" / "numbers.py").write_text(f"number = {number}\n")
    return root


def test_a_worker_that_sees_the_same_files_uses_them(client, code):
    root = written(code, 1)
    send_code(client, code_of(root))
    assert on_worker(client, root) == (root, 1)


def test_a_worker_that_sees_none_has_a_copy(client, code):
    root = written(code, 2)
    sent = code_of(root)
    shutil.rmtree(root)
    send_code(client, sent)
    place, answer = on_worker(client, root)
    assert place != root
    assert answer == 2


def test_a_worker_that_sees_other_files_has_a_copy_of_what_was_sent_last(client, code):
    first, second = (code_of(written(code, number)) for number in (3, 4))
    root = written(code, 5)
    places = set()
    for sent, number in ((first, 3), (second, 4)):
        send_code(client, sent)
        place, answer = on_worker(client, root)
        assert answer == number
        places.add(place)
    assert len(places - {root}) == 2


@pytest.mark.integration
def test_functions_that_one_worker_sends_are_found_by_others(code):
    root = written(code, 6)
    sent = code_of(root)
    shutil.rmtree(root)

    def ask(other):
        function = load_function(root, "algorithms:answer")
        with worker_client() as here:
            return get_worker().address, here.submit(function, workers=[other]).result()

    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        send_code(client, sent)
        one, other = client.scheduler_info()["workers"]
        assert client.submit(ask, other, workers=[one]).result() == (one, 6)


def test_environments_and_hidden_directories_are_no_code(code):
    root = code("x = 1\n")
    before = code_version(root)
    for name in ("env/lib", ".git"):
        (root / name).mkdir(parents=True)
        (root / name / "other.py").write_text("y = 2\n")
    (root / "env" / "pyvenv.cfg").touch()
    assert [file.path for file in read_code(root).files] == ["algorithms.py"]
    assert code_version(root) == before
