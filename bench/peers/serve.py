"""A driver's side of the dialogue (support/driver.mjs), for peers that run in Python."""

import gc
import json
import os
import resource
import sys
import traceback

live = []


def memory_of(pid="self"):
    """{'rss', 'private', 'shared'} of a process in bytes; None where the system does not tell."""
    fields = {}
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                words = line.split()
                if len(words) == 3 and words[2] == "kB":
                    fields[words[0]] = int(words[1]) * 1024
    except OSError:
        return None
    return {
        "rss": fields["Rss:"],
        "private": fields["Private_Clean:"] + fields["Private_Dirty:"],
        "shared": fields["Shared_Clean:"] + fields["Shared_Dirty:"],
    }


def resident():
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: bytes, and the highest so far.


def fill(bytes, **_):
    """Fills the heap with live objects of the same shape as serve.mjs does. Answers by how much it grew."""
    before = resident()
    n = 0
    while resident() < before + bytes:
        live.append(
            [
                {
                    "id": n * 1000 + i,
                    "label": f"item {n}/{i}",
                    "position": [i, i + 0.5, n],
                    "next": None,
                }
                for i in range(1000)
            ]
        )
        n += 1
    gc.collect()
    return {"heapUsed": resident()}


def serve(calls):
    with os.fdopen(3, "w", buffering=1) as answers:
        while True:
            line = sys.stdin.readline()
            if not line:
                return
            request = json.loads(line)
            try:
                answer = calls[request.pop("call")](**request)
            except Exception:
                answer = {"error": traceback.format_exc()}
            answers.write(json.dumps(answer or {}) + "\n")


def expect_exit(got, wanted):
    if got != wanted:
        raise RuntimeError(f"a child ended with {got} instead of {wanted}")
