"""What ``why`` says of values that carry their own witnesses, after edits, kills and restarts.

Algorithms write a constant of their code, one of a module that is imported late, a parameter,
the numbers of task and subtask and the time beside their values. Meanwhile the code is edited,
supervisors and workers are killed, and parameters are changed by restarts. More by hand (one to
three minutes each)::

    ZIGGY_WITNESS_SEEDS=0-99 pytest -m integration -n 0 tests/integration/test_witnesses.py
"""

import dataclasses
import json
import os
import random
import time

import numpy as np
import psutil
import pytest

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, store
from tests.integration.killing import ziggy
from ziggy_dask.definitions import parameter_from_value

pytestmark = pytest.mark.integration

ITEMS = 18
INSTANCES = 2
LOOKS = 1000

ALGORITHMS = """
    import json
    import os
    import time

    GAIN = {gain}


    def witnesses(parameters, context):
        if context.labels and int(context.labels[0][1:]) % 6 > parameters["S"]["most"]:
            raise ValueError("not yet")
        from . import late

        said = dict(gain=GAIN, late=late.LATE, bias=parameters["S"]["bias"])
        said |= dict(task=context.task, subtask=context.subtask, time=time.time())
        time.sleep(0.03)
        return said


    def measure(raw, parameters, context):
        said = witnesses(parameters, context)
        return raw.assign({{k: ("item", [float(v)]) for k, v in said.items()}})


    def tell(level, parameters, context):
        said = json.dumps(witnesses(parameters, context)).encode()
        label = context.labels[0]
        return {{f"{{label}}.json": said, f"{{label}}-{{context.instance}}.json": said}}


    def gather(level, parameters, context):
        said = witnesses(parameters, context)
        return {{context.labels[0] + "-gathered": level.assign_attrs(said)}}
"""


def seeds():
    first, _, last = os.environ.get("ZIGGY_WITNESS_SEEDS", "").partition("-")
    return range(int(first), int(last or first) + 1) if first else (0,)


def definition(root) -> z.Pipeline:
    values = {"bias": 1, "most": 2}
    parameters = tuple(parameter_from_value(k, v) for k, v in values.items())
    options = {"parameters": ("S",)}
    files = {"kind": z.ProductKind.FILE, "files": r"(i[0-9]+).*\.json", "subtask": ""}
    return dataclasses.replace(
        pipeline(
            root,
            data_type("raw", "L0"),
            data_type("level", "L1", external=False),
            data_type("note", "notes", external=False, **files),
            data_type(
                *("gathered", "gathered"),
                external=False,
                kind=z.ProductKind.COLLECTION,
                subtask="",
            ),
            node("measure", "measure", "raw", "level", **options),
            node("tell", "tell", "level", "note", typical_s=0.05, **options),
            node("gather", "gather", "level", "gathered", **options),
        ),
        parameter_sets=(z.ParameterSet(name="S", parameters=parameters),),
    )


class Driver:
    """Runs the pipeline as careless operators on a bad machine would."""

    def __init__(self, cluster, code, seed) -> None:
        self.cluster, self.code = cluster, code
        self.dice = random.Random(seed)
        self.root = self.edit()

    def edit(self):
        self.code(f"LATE = {self.dice.randint(1, 10**6)}\n", "late.py")
        return self.code(ALGORITHMS.format(gain=self.dice.randint(1, 10**6)))

    def go(self, *command) -> None:
        """Start a command, edit while it works, and kill it or a worker, or let it be."""
        process = ziggy(self.cluster, *command)
        fate = self.dice.choice(["supervisor", "worker", "none"])
        moment = self.dice.uniform(2, 9)
        began = time.monotonic()
        try:
            while process.poll() is None and time.monotonic() - began < moment:
                if self.dice.random() < 0.05:
                    self.edit()
                time.sleep(0.05)
            family = children(process)
            if fate == "supervisor":
                process.kill()
            elif fate == "worker" and (workers := [w for w in family if is_worker(w)]):
                self.dice.choice(workers).kill()
            output, _ = process.communicate(timeout=240)
            assert "Traceback" not in output, output
            _, left = psutil.wait_procs(family, timeout=60)
            assert left == []
        finally:
            process.kill()

    def finish(self, number) -> None:
        """Bring an instance to its end, somehow."""
        self.go("run", "test", "--set", f"S.bias={self.dice.randint(1, 10**6)}")
        for _ in range(30):
            instances = self.cluster.instances
            state = instances[number].state if number in instances else None
            if state is None:
                self.go("run", "test")
            elif state.value == "COMPLETED":
                return
            elif not state.is_final:
                self.go("run", "--continue")
            else:
                if self.dice.random() < 0.7:
                    self.edit()
                most = self.dice.choice([3, 4, 5])
                changes = ["--set", f"S.most={most}"]
                if self.dice.random() < 0.5:
                    changes += ["--set", f"S.bias={self.dice.randint(1, 10**6)}"]
                chosen = self.dice.choice(["old", "new"])
                which = ["--instance", str(number), "--code", chosen]
                self.go("restart", *which, *changes)
        raise AssertionError("it does not come to an end")


def children(process):
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def is_worker(process):
    try:
        return any("worker" in word for word in process.cmdline())
    except psutil.Error:
        return False


def witnessed(datastore):
    """Yield path, item, and what the value itself says of how it was made."""
    for number in (1, 2):
        level = datastore[f"set-{number}/L1"].load()
        names = ("gain", "late", "bias", "task", "subtask", "time")
        for place, item in enumerate(level["item"].values):
            one = level.isel(item=place)
            yield f"set-{number}/L1", str(item), {k: float(one[k]) for k in names}
        for name, content in datastore[f"set-{number}/notes"].items():
            yield f"set-{number}/notes", name, json.loads(bytes(content))
        for name, item in datastore[f"set-{number}/gathered"].children.items():
            said = {k: item.attrs[k] for k in names}
            yield f"set-{number}/gathered", name, said


def untrue(cluster, why, said):
    """Return what of a why does not fit what the value says of itself."""
    origin = why.origin
    files = {
        one.path: one.content.decode() for one in cluster.recorded_code(why.code).files
    }
    started = why.started.timestamp() if why.started else np.nan
    found = {
        "task": origin.task == said["task"],
        "subtask": origin.subtask == said["subtask"],
        "code": len(origin.code) == 1,
        "gain": f"GAIN = {int(said['gain'])}\n" in files["algorithms.py"],
        "late": files["late.py"] == f"LATE = {int(said['late'])}\n",
        "bias": [float(s["S"]["bias"]) for s in origin.parameters] == [said["bias"]],
        "time": started - 0.01 <= said["time"] <= started + (why.wall_s or 0) + 0.01,
        "attempt": origin.attempt is not None,
    }
    return [name for name, is_true in found.items() if not is_true]


@pytest.mark.parametrize("seed", seeds())
def test_what_is_said_of_values_is_what_they_say_themselves(cluster, code, seed):
    store(cluster, {f"set-{n}/L0": images(ITEMS, seed=n) for n in (1, 2)})
    driver = Driver(cluster, code, seed)
    cluster.register(definition(driver.root))
    for number in range(1, INSTANCES + 1):
        driver.finish(number)
        driver.edit()
    looks = [
        (at, *one)
        for at in range(1, INSTANCES + 1)
        for one in witnessed(cluster.datastore.at(at))
    ]
    assert len({said["gain"] for *_, said in looks}) > 1
    chosen = driver.dice.sample(looks, min(LOOKS, len(looks)))
    wrong = {}
    for at, path, item, said in chosen:
        why = cluster.why(path, at=at, item=item)
        if faults := untrue(cluster, why, said):
            wrong[at, path, item] = (faults, said, why.origin.task, why.origin.subtask)
    assert wrong == {}, (
        f"{len(wrong)} of {len(chosen)}: {dict(list(wrong.items())[:5])}"
    )
    assert [one.what for one in cluster.doctor()] == []
