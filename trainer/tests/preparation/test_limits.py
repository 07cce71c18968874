"""Attempts to use up the machine: processes, memory, time, disk, output."""

import pytest

from weighted_mtp.preparation.sandbox import Limits, Sandbox

BOMB = """
import os, time
made = 0
for _ in range(80):
    try:
        if os.fork() == 0:
            time.sleep(1); os._exit(0)
        made += 1
    except OSError: pass
print("made", made)
"""


def test_fork_bomb(sandbox, bare):
    assert "made 80" in bare.run(BOMB).output
    result = sandbox.run(BOMB)
    assert int(result.output.split()[1]) < sandbox.limits.processes


def test_endless_fork_bomb_is_over_in_time(sandbox):
    attempt = "import os\nwhile True:\n try: os.fork()\n except OSError: pass"
    result = Sandbox(Limits(wall_seconds=1, processes=40)).run(attempt)
    assert not result.passed and result.seconds < 3


def test_memory(sandbox):
    attempt = "block = bytearray(1 << 30); print('GOT IT')"
    assert "GOT IT" in Sandbox(Limits(memory_bytes=2 << 30)).run(attempt).output
    result = sandbox.run(attempt)
    assert not result.passed and "MemoryError" in result.output


@pytest.mark.parametrize(
    "loop",
    [
        "while True: pass",
        "import signal\nfor s in range(1, 65):\n try: signal.signal(s, signal.SIG_IGN)\n"
        " except (OSError, ValueError): pass\nwhile True: pass",
        "import time\nwhile True: time.sleep(1)",
        "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (-1, -1))\nwhile True: pass",
    ],
    ids=["busy", "ignores signals", "sleeps", "raises its limits"],
)
def test_endless_loop(loop):
    result = Sandbox(Limits(cpu_seconds=1, wall_seconds=2.5)).run(loop)
    assert not result.passed
    assert result.seconds < 3.5


FILL = """
import os
total = 0
for place in ("/tmp", "/", "/dev", "/dev/shm", "/var/tmp"):
    for number in range(20):
        try:
            with open(f"{place}/{number}", "wb", buffering=0) as file:
                for _ in range(4): total += file.write(bytes(1 << 20))
        except OSError: pass
print(total)
"""


def test_disk(sandbox):
    # 80 MiB fit where they may, a quarter of that where not.
    assert int(Sandbox(Limits(disk_bytes=100 << 20)).run(FILL).output) == 80 << 20
    assert int(sandbox.run(FILL).output) <= sandbox.limits.disk_bytes
    big = sandbox.run("open('/tmp/big', 'wb').write(bytes(8 << 20)); print('WRITTEN')")
    assert not big.passed and "WRITTEN" not in big.output


def test_output(sandbox):
    result = sandbox.run("while True: print('x' * 100000)")
    assert result.status == "failed" and result.reason == "more output than allowed"
    assert len(result.output) <= sandbox.limits.output_bytes
    assert result.seconds < 3
