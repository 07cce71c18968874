"""Attempts to get out of the sandbox. Each is run without isolation as well, where it must succeed."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from test_limits import BOMB

from weighted_mtp.preparation.sandbox import Limits, Sandbox

SOURCE = Path(__file__).resolve().parents[2] / "src"


def processes_with(token: str) -> list[int]:
    """Ids of the host's processes that have `token` in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and token.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def until(condition, seconds=5.0):
    """Whether the condition comes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def victim():
    """A process of the host with a secret in its environment."""
    process = subprocess.Popen(["sleep", "60"], env={"PLANTED": "s3cret-of-the-host"})
    assert until(lambda: b"sleep" in Path(f"/proc/{process.pid}/cmdline").read_bytes())
    yield process
    process.kill()
    process.wait()


SCAN = """
import os
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        if "s3cret-of-the-host" in open(f"/proc/{pid}/environ").read(): print("FOUND", pid)
    except OSError: pass
print(sorted(os.environ))
"""


def test_environment_of_other_processes(sandbox, bare, victim):
    assert "FOUND" in bare.run(SCAN).output
    result = sandbox.run(SCAN)
    assert result.passed
    assert "FOUND" not in result.output
    assert result.output == "['HOME', 'LANG', 'PATH', 'PWD', 'PYTHONHASHSEED', 'TMPDIR']\n"


def test_environment_of_the_parent(sandbox):
    # bubblewrap itself is visible inside as process 1: the caller's environment must not reach it.
    code = f"from weighted_mtp.preparation.sandbox import Sandbox; print(Sandbox().run({SCAN!r}).output)"
    env = {"PLANTED": "s3cret-of-the-host", "PYTHONPATH": str(SOURCE), "PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "HOME" in done.stdout
    assert "FOUND" not in done.stdout


@pytest.mark.parametrize("kind", ["tcp", "abstract"])
def test_network(sandbox, bare, kind):
    server = socket.socket(socket.AF_INET if kind == "tcp" else socket.AF_UNIX)
    with server:
        server.bind(("127.0.0.1", 0) if kind == "tcp" else "\0wmtp-" + secrets.token_hex(8))
        server.listen()
        heard = []

        def listen():
            while len(heard) < 2:
                try:
                    connection = server.accept()[0]
                except OSError:
                    return
                heard.append(connection.recv(100))
                connection.close()

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        attempt = f"""
import socket
s = socket.socket(socket.{"AF_INET" if kind == "tcp" else "AF_UNIX"})
s.settimeout(2)
s.connect({server.getsockname()!r})
s.sendall(b"out")
print("CONNECTED")
"""
        assert "CONNECTED" in bare.run(attempt).output
        assert until(lambda: heard == [b"out"])
        result = sandbox.run(attempt)
        assert not result.passed and "CONNECTED" not in result.output
        assert heard == [b"out"]
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def planted(tmp_path):
    """Secret files where a host has them: temporary directory, home, project."""
    places = [tmp_path, Path("/tmp"), Path.home(), SOURCE.parent, Path("/dev/shm")]
    files = [place / f".planted-{secrets.token_hex(8)}" for place in places]
    for file in files:
        file.write_text("do not read")
    yield files
    for file in files:
        file.unlink()


def test_files_of_the_host(sandbox, bare, planted):
    attempt = f"""
for path in {[str(file) for file in planted]!r}:
    for mode in ("r", "a"):
        try:
            with open(path, mode) as file:
                print("OPENED", file.read() if mode == "r" else file.write("x"))
        except OSError as error: print(type(error).__name__)
"""
    assert bare.run(attempt).output.count("OPENED") == 2 * len(planted)
    for file in planted:
        file.write_text("do not read")
    result = sandbox.run(attempt)
    assert result.passed
    assert "OPENED" not in result.output.replace("OPENED 1", "")
    assert [file.read_text() for file in planted] == ["do not read"] * len(planted)


def test_nothing_but_python_is_visible(sandbox):
    result = sandbox.run("""
import os, sys
for path in ("/etc", "/sys", "/var", "/run", "/home", "/opt", "/proc/1/root/etc", "/proc/1/cwd/etc"):
    if os.path.exists(path): print("VISIBLE", path)
for path in ("/", "/usr", "/usr/bin", "/dev", "/proc/sys/kernel", sys.base_prefix):
    try: open(path + "/planted", "w"); print("WRITABLE", path)
    except OSError: pass
for path in ("/proc/sys/kernel/hostname", os.__file__, sys.executable):
    try: open(path, "a"); print("WRITABLE", path)
    except OSError: pass
for path in (sys.base_prefix, "/usr"):
    try: os.chmod(path, 0o777); print("CHANGED", path)
    except OSError: pass
print("done", os.listdir("/tmp"))
""")
    assert result.output == "done []\n"


def test_own_user_namespaces_are_refused(sandbox):
    result = sandbox.run("""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
print(libc.unshare(0x10000000), ctypes.get_errno(), os.geteuid())
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
print(status["CapEff"].strip(), status["CapBnd"].strip(), status["NoNewPrivs"].strip())
""")
    first, second = result.output.splitlines()
    assert first.startswith("-1 ") and first.endswith(" 65534")
    assert second == "0000000000000000 0000000000000000 1"


def test_signals_to_the_host(sandbox, bare, victim):
    attempt = "import os\nfor s in (0, 9):\n try: os.kill(VICTIM, s); print('SENT')\n except OSError: pass\n"
    attempt = attempt.replace("VICTIM", str(victim.pid))
    result = sandbox.run(attempt + "try: os.kill(-1, 9)\nexcept OSError: pass\n")
    assert "SENT" not in result.output
    assert victim.poll() is None
    assert "SENT" in bare.run(attempt).output
    assert victim.wait(2) == -signal.SIGKILL


DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 64)  # or the output would be waited for
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", "import time; time.sleep(30)", "TOKEN"])
    os._exit(0)
os.wait()
time.sleep(0.3)
print("left behind")
"""


def test_daemon_does_not_outlive_the_sandbox(sandbox, bare):
    token = secrets.token_hex(8)
    attempt = DAEMON.replace("TOKEN", token)
    bare.run(attempt)
    (survivor,) = processes_with(token)
    os.kill(survivor, signal.SIGKILL)
    assert until(lambda: not processes_with(token))
    assert Sandbox(Limits(processes=16)).run(attempt).output == "left behind\n"
    assert until(lambda: not processes_with(token), 1)


def test_nothing_outlives_a_killed_parent():
    token = secrets.token_hex(8)
    sleep = f"[sys.executable, '-c', 'import time; time.sleep(30)', '{token}']"
    attempt = f"import os, sys; os.execv(sys.executable, {sleep})"
    code = f"from weighted_mtp.preparation.sandbox import *; Sandbox(Limits(wall_seconds=20)).run({attempt!r})"
    env = {"PYTHONPATH": str(SOURCE), "PATH": os.environ["PATH"]}
    parent = subprocess.Popen([sys.executable, "-c", code], env=env)

    def running():  # the source is in the parent's command line as well
        return [pid for pid in processes_with(token) if pid != parent.pid]

    assert until(running)
    parent.kill()
    parent.wait()
    assert until(lambda: not running(), 3)


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests run as an ordinary user already")
def test_as_an_ordinary_user():
    python = "/usr/bin/python3"
    probe = "import sys; sys.exit(sys.version_info < (3, 11))"
    if not Path(python).exists() or subprocess.run([python, "-c", probe]).returncode:
        pytest.skip("no system Python 3.11 that another user may run")
    copy = Path("/tmp") / f"wmtp-test-{secrets.token_hex(4)}"
    subprocess.run(["cp", "-r", str(SOURCE), str(copy)], check=True)
    subprocess.run(["chmod", "-R", "a+rX", str(copy)], check=True)
    try:
        code = f"from weighted_mtp.preparation.sandbox import Sandbox; print(Sandbox().run({BOMB!r}))"
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python, "-B", "-c", code]
        env = {"PYTHONPATH": str(copy), "PATH": "/usr/bin"}
        done = subprocess.run(user, env=env, cwd="/", capture_output=True, text=True)
        assert "status='passed'" in done.stdout, done.stderr
        assert int(done.stdout.split("made ")[1].split("\\n")[0]) < Limits().processes
    finally:
        subprocess.run(["rm", "-rf", str(copy)], check=True)
