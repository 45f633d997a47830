"""Driver of bench/process.mjs: multiprocessing.Process of CPython, start method fork or the one that is named."""

import multiprocessing
import os
import random
import sys
import time

from serve import expect_exit, fill, memory_of, serve

method = sys.argv[1] if len(sys.argv) > 1 else "fork"
context = multiprocessing.get_context(method)


def noop():
    pass


def run():
    begin = time.perf_counter()
    child = context.Process(target=noop)
    child.start()
    started = time.perf_counter()
    child.join()
    end = time.perf_counter()
    expect_exit(child.exitcode, 0)
    child.close()
    return {"ms": (end - begin) * 1e3, "startMs": (started - begin) * 1e3}


def exit_elsewhere(parent, code):
    sys.exit(0 if os.getpid() == parent else code)


def prove():
    secret = random.randint(1, 250)
    child = context.Process(target=exit_elsewhere, args=(os.getpid(), secret))
    child.start()
    child.join()
    expect_exit(child.exitcode, secret)


def idle():
    child = context.Process(target=time.sleep, args=(60,))
    child.start()
    time.sleep(0.3)
    memory = memory_of(child.pid)
    child.kill()
    child.join()
    expect_exit(child.exitcode, -9)
    return {"memory": memory}


if __name__ == "__main__":
    serve({"fill": fill, "run": run, "prove": prove, "idle": idle})
