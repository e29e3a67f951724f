"""Runs one command and writes what it took to a file: ``launch.py REPORT COMMAND...``.

A program of its own, and a small one, because Linux counts the memory that the starting process had towards the peak
of the one it starts.
"""

import json
import os
import sys
import time


def launch(report: str, command: list[str]) -> int:
    """Run ``command`` to its end; gives its exit status. Times in seconds, the peak of resident memory in bytes."""
    begun = time.perf_counter()
    child = os.posix_spawnp(command[0], command, os.environ)
    _, status, used = os.wait4(child, 0)
    wall = time.perf_counter() - begun
    found = {"wall": wall, "cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss * 1024}
    with open(report, "w") as file:
        json.dump(found, file)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(launch(sys.argv[1], sys.argv[2:]))
