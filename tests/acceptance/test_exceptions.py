"""Whatever an algorithm raises is the outcome of its subtask, and of no other."""

from tests.conftest import images, store, work_pipeline

ALGORITHMS = """
    import asyncio
    import concurrent.futures
    import os
    import sys
    import threading
    from pathlib import Path

    RAN = Path(__file__).parent / "ran"


    class Panic(BaseException):
        pass


    class Mute(Exception):
        def __str__(self):
            raise ValueError("no text of me")


    class Blank(Exception):
        def __str__(self):
            return None


    class Stubborn(BaseException):
        def __str__(self):
            raise KeyboardInterrupt


    class Locked(Exception):
        def __init__(self, first, second):
            super().__init__(first + second)
            self.lock = threading.Lock()


    def deep(number):
        return deep(number + 1)


    def work(raw, context):
        number = int(context.labels[0][1:])
        with RAN.open("a") as file:
            print(number, file=file)
        print("before", number)
        if number < len(WAYS):
            exec(WAYS[number])
        return raw


    WAYS = """
WAYS = {
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "CancelledError": "raise asyncio.CancelledError",
    "CancelledError: of a future": "raise concurrent.futures.CancelledError('of a future')",
    "GeneratorExit": "raise GeneratorExit",
    "Panic: on a `None` value": "raise Panic('on a `None` value')",
    "SystemExit: 0": "sys.exit(0)",
    "SystemExit: usage: fit FILE": "sys.exit('usage: fit FILE')",
    "Mute: its str() fails with ValueError": "raise Mute",
    "Blank: its str() fails with TypeError": "raise Blank",
    "Stubborn: its str() fails with KeyboardInterrupt": "raise Stubborn",
    "Locked: ab": "raise Locked('a', 'b')",
    "ValueError: café \\udcff": r"raise ValueError('café ' + os.fsdecode(b'\xff'))",
    "ValueError: a\\x00b\\x1b[31mred": r"raise ValueError('a\0b\x1b[31mred')",
    "ValueError: xxx": "raise ValueError('x' * 5_000_000)",
    "RecursionError: ": "deep(0)",
    "ExceptionGroup: two": "raise ExceptionGroup('two', [ValueError(1), OSError(28)])",
    "StopIteration": "raise StopIteration",
}


def test_every_exception_is_one_outcome(cluster, code, client):
    root = code(ALGORITHMS + repr(list(WAYS.values())))
    options = {"max_failed_subtasks": len(WAYS), "typical_s": 0.001}
    cluster.register(work_pipeline(root, **options))
    store(cluster, {"set-1/L0": images(len(WAYS) + 3)})
    (task,) = cluster.run("test", client=client).tasks
    assert task.record.state == "COMPLETE"
    assert [one.state.value for one in task.subtasks[len(WAYS) :]] == ["COMPLETE"] * 3
    ran = (root / "ran").read_text().split()
    assert sorted(ran, key=int) == [str(one.number) for one in task.subtasks]
    for message, one in zip(WAYS, task.subtasks, strict=False):
        assert one.cause.value == "exception"
        assert one.message.startswith(message)
        (words,) = task.logs(one.number)
        assert words.log == f"before {one.number}\n"
        assert "in work" in words.traceback
        assert len(words.traceback) < 40_000
