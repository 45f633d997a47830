"""Taking values apart and putting them together, by CPython's pickle."""

import pickle
import time
from multiprocessing.reduction import ForkingPickler

from serve import serve

RECORDS = [
    {"id": i, "name": f"name {i}", "active": i % 2 == 0, "score": i * 1.5, "tags": ["a", "b"]}
    for i in range(100)
]
VALUES = {
    "number": 42,
    "small": {"id": 1, "name": "x", "values": [1, 2, 3]},
    "text": "x" * 1024,
    "records": RECORDS,
    "integers": [i * 7 for i in range(1000)],
    "doubles": [i * 0.7 for i in range(1000)],
    "map": {record["name"]: record["id"] for record in RECORDS},
    "kilobyte": bytes([1]) * 1024,
    "megabyte": bytes([1]) * 2**20,
}


def timed(count, once, argument):
    begin = time.perf_counter()
    for _ in range(count):
        once(argument)
    return {"ms": (time.perf_counter() - begin) * 1000}


def dumps(value, count):
    subject = VALUES[value]
    assert pickle.loads(ForkingPickler.dumps(subject)) == subject
    return timed(count, ForkingPickler.dumps, subject)


def loads(value, count):
    data = bytes(ForkingPickler.dumps(VALUES[value]))
    return timed(count, pickle.loads, data)


serve({"dumps": dumps, "loads": loads})
