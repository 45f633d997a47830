"""Driver of bench/pipe.mjs: multiprocessing.Pipe of CPython. Each call answers the nanoseconds of one operation."""

import multiprocessing
import time

from serve import expect_exit, serve


def between(target, body):
    conn, other = multiprocessing.Pipe()

    def run():
        conn.close()
        target(other)

    child = multiprocessing.Process(target=run)
    child.start()
    other.close()
    ns = body(conn)
    conn.close()
    child.join()
    expect_exit(child.exitcode, 0)
    child.close()
    return {"ns": ns}


def echo_bytes(count):
    def target(conn):
        for _ in range(count):
            conn.send_bytes(conn.recv_bytes())

    return target


def bytes_(count, size):
    message = b"\7" * size

    def body(conn):
        begin = time.perf_counter_ns()
        for _ in range(count):
            conn.send_bytes(message)
            if len(conn.recv_bytes()) != size:
                raise RuntimeError("another message came back")
        return (time.perf_counter_ns() - begin) / count

    return between(echo_bytes(count), body)


def value(count):
    def target(conn):
        for _ in range(count):
            conn.send(conn.recv())

    def body(conn):
        begin = time.perf_counter_ns()
        for i in range(count):
            conn.send({"id": i, "name": "item"})
            if conn.recv()["id"] != i:
                raise RuntimeError("another value came back")
        return (time.perf_counter_ns() - begin) / count

    return between(target, body)


def parked(count):
    message = b"\7" * 8

    def body(conn):
        total = 0
        for _ in range(count):
            time.sleep(0.002)
            begin = time.perf_counter_ns()
            conn.send_bytes(message)
            conn.recv_bytes()
            total += time.perf_counter_ns() - begin
        return total / count

    return between(echo_bytes(count), body)


multiprocessing.set_start_method("fork")
serve({"bytes": bytes_, "value": value, "parked": parked})
