"""Driver of bench/queues.mjs: multiprocessing of CPython. Times in nanoseconds."""

import multiprocessing
import time

from serve import expect_exit, serve

QUEUES = {
    "Queue": lambda maxsize=0: multiprocessing.Queue(maxsize),
    "SimpleQueue": lambda maxsize=0: multiprocessing.SimpleQueue(),
}

ITEMS = {
    "number": lambda i: i,
    "object": lambda i: {"id": i, "name": f"item {i}", "values": [i, i + 0.5], "done": False},
}


def prepared(target):
    """A child that runs `target` once `go()` is called; it is there by then."""
    ready = multiprocessing.Semaphore(0)
    start = multiprocessing.Semaphore(0)

    def run():
        ready.release()
        start.acquire()
        target()

    child = multiprocessing.Process(target=run)
    child.start()
    ready.acquire()

    def end():
        child.join()
        expect_exit(child.exitcode, 0)
        child.close()

    return start.release, end


def items(queue, kind, count):
    queue = QUEUES[queue]()
    make = ITEMS[kind]

    def produce():
        for i in range(count):
            queue.put(make(i))

    go, end = prepared(produce)
    begin = time.perf_counter_ns()
    go()
    for _ in range(count):
        got = queue.get()
    ns = (time.perf_counter_ns() - begin) / count
    if got != make(count - 1):
        raise RuntimeError(f"{got}")
    end()
    return {"ns": ns}


def bulk(queue, bytes, count):
    queue = QUEUES[queue](16)

    def produce():
        message = b"\1" * bytes
        for _ in range(count):
            queue.put(message)

    go, end = prepared(produce)
    begin = time.perf_counter_ns()
    go()
    for _ in range(count):
        got = queue.get()
        if len(got) != bytes or got[0] != 1 or got[-1] != 1:
            raise RuntimeError("damaged")
    ns = (time.perf_counter_ns() - begin) / count
    end()
    return {"ns": ns}


def round_trip(queue, count):
    there, back = QUEUES[queue](), QUEUES[queue]()

    def echo():
        for _ in range(count):
            back.put(there.get())

    go, end = prepared(echo)
    go()
    begin = time.perf_counter_ns()
    for i in range(count):
        there.put(i)
        if back.get() != i:
            raise RuntimeError("out of order")
    ns = (time.perf_counter_ns() - begin) / count
    end()
    return {"ns": ns}


multiprocessing.set_start_method("fork")
serve({"items": items, "bulk": bulk, "roundTrip": round_trip})
