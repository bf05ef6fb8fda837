import logging
import sys
import threading

from ziggy_dask.workers.capture import LARGEST_LOG, Tail, captured


def test_threads_of_one_process_keep_their_output_apart():
    texts, turn = {}, threading.Barrier(4)

    def work(name):
        with captured() as tail:
            for _ in range(50):
                turn.wait()
                print(name)
                print(name, file=sys.stderr)
                logging.getLogger("test").error(name)
        texts[name] = tail.text()

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, text in texts.items():
        assert text.count(name + "\n") == 150
        assert {line[-1] for line in text.splitlines()} == {name}


def test_output_outside_goes_where_it_went_before(capsys):
    with captured() as tail:
        print("inside")
    print("outside")
    assert tail.text() == "inside\n"
    assert capsys.readouterr().out == "outside\n"


def test_only_the_end_of_much_output_is_kept():
    tail = Tail()
    for number in range(100_000):
        tail.write(f"line {number}\n")
    text = tail.text()
    assert text.endswith("line 99999\n")
    assert len(text) < LARGEST_LOG + 100
    assert text.startswith("[")
    assert "characters left out]" in text


def test_one_huge_write_is_cut_at_once():
    tail = Tail(size=10)
    tail.write("x" * 1000 + "end")
    assert tail.text() == "[993 characters left out]\nxxxxxxxend"
