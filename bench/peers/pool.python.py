"""Driver of bench/pool.mjs: CPython's multiprocessing.Pool. Times in nanoseconds."""

import time
from multiprocessing import get_context

from serve import serve

SIZE = 4
context = get_context("fork")
now = time.perf_counter_ns


def trivial(x):
    return x


def busy(milliseconds):
    end = time.perf_counter() + milliseconds / 1000
    while time.perf_counter() < end:
        pass
    return milliseconds


pool = None


def warm():
    global pool
    if pool is None:
        pool = context.Pool(SIZE)
        pool.map(trivial, range(2000), 1)
    return pool


def start(count, kind=context):
    begin = now()
    fresh = kind.Pool(SIZE)
    assert fresh.map(trivial, range(SIZE), 1) == list(range(SIZE))
    ns = now() - begin
    fresh.terminate()
    fresh.join()
    return {"ns": ns}


def spawn(count):
    return start(count, get_context("spawn"))


def chunks(count):
    items = list(range(count))
    warm()
    begin = now()
    results = pool.map(trivial, items)
    ns = (now() - begin) / count
    assert results[-1] == count - 1
    return {"ns": ns}


def each(count):
    items = list(range(count))
    warm()
    begin = now()
    results = pool.map(trivial, items, 1)
    ns = (now() - begin) / count
    assert results[-1] == count - 1
    return {"ns": ns}


def apply(count):
    warm()
    begin = now()
    for i in range(count):
        assert pool.apply(trivial, (i,)) == i
    return {"ns": (now() - begin) / count}


def busy_tasks(count, milliseconds):
    warm()
    begin = now()
    pool.map(busy, [milliseconds] * count, 1)
    return {"ns": (now() - begin) / count}


def end():
    global pool
    if pool is not None:
        pool.terminate()
        pool = None


if __name__ == "__main__":
    serve(
        {
            "start": start,
            "spawn": spawn,
            "chunks": chunks,
            "each": each,
            "apply": apply,
            "busy": busy_tasks,
            "end": end,
        }
    )
