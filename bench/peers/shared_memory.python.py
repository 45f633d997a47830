"""Driver of bench/shared_memory.mjs: multiprocessing.shared_memory of CPython."""

import time
from multiprocessing.shared_memory import ShareableList, SharedMemory

from serve import serve

SIZE = 4096


def timed(count, once):
    begin = time.perf_counter()
    for i in range(count):
        once(i)
    return {"ms": (time.perf_counter() - begin) * 1e3}


def one_life(i):
    made = SharedMemory(create=True, size=SIZE)
    opened = SharedMemory(made.name)
    made.buf[0] = i & 255
    if opened.buf[0] != i & 255:
        raise RuntimeError("not the same memory")
    opened.close()
    made.close()
    made.unlink()


def attach(count):
    made = SharedMemory(create=True, size=SIZE)
    answer = timed(count, lambda _: SharedMemory(made.name).close())
    made.close()
    made.unlink()
    return answer


LARGE = 2**24
data = b"\x01" * LARGE


def create_large(_):
    made = SharedMemory(create=True, size=LARGE)
    made.close()
    made.unlink()


def fill_large(_):
    made = SharedMemory(create=True, size=LARGE)
    made.buf[:LARGE] = data
    made.close()
    made.unlink()


def with_list(use):
    shared = ShareableList([0, 1.5, "text"])
    answer = use(shared)
    shared.shm.close()
    shared.shm.unlink()
    return answer


def get(count):
    def use(shared):
        def once(_):
            if shared[0] != 0:
                raise RuntimeError("another item")

        return timed(count, once)

    return with_list(use)


def set_(count):
    def use(shared):
        def once(i):
            shared[0] = i

        answer = timed(count, once)
        if shared[0] != count - 1:
            raise RuntimeError("not written")
        return answer

    return with_list(use)


serve(
    {
        "life": lambda count: timed(count, one_life),
        "attach": attach,
        "create": lambda count: timed(count, create_large),
        "fill": lambda count: timed(count, fill_large),
        "get": get,
        "set": set_,
    }
)
