"""Driver of bench/synchronize.mjs: multiprocessing of CPython. Each call answers the nanoseconds of one operation."""

import multiprocessing
import os
import time

from serve import expect_exit, serve


def per(begin, count):
    return (time.perf_counter_ns() - begin) / count


def children(count, target):
    started = [multiprocessing.Process(target=target) for _ in range(count)]
    for child in started:
        child.start()

    def join():
        for child in started:
            child.join()
            expect_exit(child.exitcode, 0)
            child.close()

    return join


def lock(count):
    lock = multiprocessing.Lock()
    begin = time.perf_counter_ns()
    for _ in range(count):
        lock.acquire()
        lock.release()
    return {"ns": per(begin, count)}


def contended(processes, count):
    lock = multiprocessing.Lock()
    ready = multiprocessing.Barrier(processes + 1)

    def target():
        ready.wait()
        for _ in range(count):
            lock.acquire()
            lock.release()

    join = children(processes, target)
    ready.wait()
    begin = time.perf_counter_ns()
    join()
    return {"ns": per(begin, processes * count)}


def event(count):
    there = multiprocessing.Event()
    back = multiprocessing.Event()

    def target():
        for _ in range(count):
            there.wait()
            there.clear()
            back.set()

    join = children(1, target)
    begin = time.perf_counter_ns()
    for _ in range(count):
        there.set()
        back.wait()
        back.clear()
    ns = per(begin, 2 * count)
    join()
    return {"ns": ns}


def barrier(parties, count):
    barrier = multiprocessing.Barrier(parties)

    def target():
        for _ in range(count + 1):
            barrier.wait()

    join = children(parties - 1, target)
    barrier.wait()
    begin = time.perf_counter_ns()
    for _ in range(count):
        barrier.wait()
    ns = per(begin, count)
    join()
    return {"ns": ns}


def value_locked(count):
    value = multiprocessing.Value("i", 0)
    begin = time.perf_counter_ns()
    for _ in range(count):
        with value.get_lock():
            value.value += 1
    ns = per(begin, count)
    if value.value != count:
        raise RuntimeError(f"counted {value.value}")
    return {"ns": ns}


def rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def create(count):
    before = rss()
    begin = time.perf_counter_ns()
    locks = [multiprocessing.Lock() for _ in range(count)]
    return {"ns": per(begin, 1), "bytes": rss() - before, "count": len(locks)}


multiprocessing.set_start_method("fork")
serve(
    {
        "lock": lock,
        "contended": contended,
        "event": event,
        "barrier": barrier,
        "valueLocked": value_locked,
        "valueAtomic": value_locked,
        "create": create,
    }
)
