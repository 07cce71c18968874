"""The program that runs inside a sandbox. Standard library only; its text is handed to `python -c`.

Three modes, chosen by the first argument; the second is the number of an inherited socket:

  program    run one whole program (tests of the isolation use it)
  candidate  load untrusted source, then answer calls of one of its functions
  checker    run trusted tests against a function that lives in another sandbox

The last two are why a verdict cannot be forged: tests and their expected values never enter the process that
runs the candidate, and what comes back from there is decoded to plain values (no `__eq__` that is always
true, no patched `builtins`, no exit code, no printed line is believed). A candidate can only pass by
returning what the tests expect.
"""

import builtins
import json
import os
import resource
import socket
import struct
import sys

MAX_MESSAGE = 4 << 20  # bytes; a larger one is an error, so that neither side can exhaust the other


def send(channel, message):
    """Writes one message: four bytes of length (big endian), then JSON."""
    data = json.dumps(message).encode()
    if len(data) > MAX_MESSAGE:
        raise ValueError(f"message of {len(data)} bytes, more than {MAX_MESSAGE}")
    channel.sendall(struct.pack(">I", len(data)) + data)


def receive(channel, header=b""):
    """Reads one message; None at the end of the stream or after a malformed one."""
    header += _exactly(channel, 4 - len(header))
    if len(header) < 4:
        return None
    (size,) = struct.unpack(">I", header)
    if size > MAX_MESSAGE:
        return None
    data = _exactly(channel, size)
    return json.loads(data) if len(data) == size else None


def _exactly(channel, size):
    data = b""
    while len(data) < size:
        try:
            part = channel.recv(min(size - len(data), 1 << 16))
        except ConnectionError:
            part = b""
        if not part:
            return b""
        data += part
    return data


def encode(value):
    """A value as JSON that keeps Python's types apart. TypeError for what is no plain value."""
    if value is None or isinstance(value, bool | str):
        return value if type(value) in (bool, str, type(None)) else str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(item)] for key, item in value.items()]}
    if isinstance(value, tuple | set | frozenset):
        name = next(kind.__name__ for kind in (tuple, set, frozenset) if isinstance(value, kind))
        return {name: [encode(item) for item in value]}
    if isinstance(value, bytes | bytearray):
        return {"bytes": value.hex()}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    raise TypeError(f"a {type(value).__name__} is not a plain value")


def decode(value):
    """The inverse of `encode`: only exact built-in types come out, whatever the other side sent."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((name, content),) = value.items()
    if name == "dict":
        return {decode(key): decode(item) for key, item in content}
    if name == "bytes":
        return bytes.fromhex(content)
    if name == "complex":
        return complex(*content)
    return {"tuple": tuple, "set": set, "frozenset": frozenset}[name](decode(item) for item in content)


def apply_limits(limits):
    """Lowers soft and hard limits for good: `limits` maps a name such as RLIMIT_CPU to its value.

    CPU gets one second between the two, so that the signal says which limit it was.
    """
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value + (name == "RLIMIT_CPU")))


def describe(error):
    """One short line for an exception that untrusted code may have made."""
    try:
        return [type(error).__name__[:80], str(error)[:200]]
    except BaseException:
        return ["Exception", "an error that cannot be shown"]


def receive_job(channel):
    """The first message; a judge that is gone before it sent one wants nothing."""
    job = receive(channel)
    if job is None:
        raise SystemExit(1)
    return job


def program(channel):
    """Runs {"limits", "source"} as `__main__`; exit status and output are the program's own."""
    job = receive_job(channel)
    channel.close()
    apply_limits(job["limits"])
    exec(compile(job["source"], "program.py", "exec"), {"__name__": "__main__"})


def candidate(channel):
    """Loads {"limits", "source", "entry_point"} and answers calls until the channel closes."""
    job = receive_job(channel)
    apply_limits(job["limits"])
    try:
        namespace: dict = {"__name__": "candidate"}
        exec(compile(job["source"], "candidate.py", "exec"), namespace)
        function = namespace[job["entry_point"]]
        send(channel, {"ready": True})
    except BaseException as error:
        send(channel, {"error": describe(error)})
        return
    while (call := receive(channel)) is not None:
        try:
            reply = {"value": encode(function(*decode(call["args"]), **decode(call["kwargs"])))}
        except BaseException as error:
            reply = {"error": describe(error)}
        send(channel, reply)


class CandidateGone(BaseException):
    """The candidate's process ended; no `except Exception` in a test may hide that."""


class _Remote:
    """The function under test, as the tests see it: every call goes to the other sandbox."""

    def __init__(self, channel):
        self.channel, self.calls, self.raised = channel, 0, ""

    def __call__(self, *args, **kwargs):
        self.calls, self.raised = self.calls + 1, ""
        send(self.channel, {"args": encode(args), "kwargs": encode(kwargs)})
        reply = receive(self.channel)
        if reply is None:
            raise CandidateGone("it ended before it answered")
        if "error" not in reply:
            return decode(reply["value"])
        name, text = reply["error"]
        # Tests may expect a certain built-in error, so it is raised again as that.
        kind = getattr(builtins, str(name), None)
        known = isinstance(kind, type) and issubclass(kind, Exception)
        self.raised = f"{name}: {text}"
        raise kind(str(text)) if known else RuntimeError(self.raised)


def check(job, channel):
    """Runs job["test"] (it defines `check(candidate)`) and returns {"passed", "reason"}.

    job["prelude"] is what the tests may call besides the candidate (the helpers in a problem's prompt).
    """
    import random

    random.seed(0)  # some tests draw their inputs; the same draw for every candidate and every run
    remote = _Remote(channel)
    try:
        namespace: dict = {"__name__": "checker"}
        exec(compile(job["prelude"], "prelude.py", "exec"), namespace)
        namespace[job["entry_point"]] = remote
        exec(compile(job["test"], "test.py", "exec"), namespace)
        ready = receive(channel)
        if ready is None:
            raise CandidateGone("it ended while it was loaded")
        if "error" in ready:
            return {"passed": False, "reason": "does not load: " + ": ".join(ready["error"])}
        namespace["check"](remote)
    except CandidateGone as error:
        return {"passed": False, "reason": f"candidate gone: {error}"}
    except BaseException as error:
        if remote.raised:
            return {"passed": False, "reason": "raises " + remote.raised[:200]}
        return {"passed": False, "reason": "wrong answer: " + ": ".join(describe(error))}
    if not remote.calls:
        return {"passed": False, "reason": "the tests never called it"}
    return {"passed": True, "reason": ""}


def checker(control):
    """Answers jobs that arrive with a candidate's channel attached; each is checked in a fork of its own.

    The fork gives every check a clean state and a CPU limit of its own, and keeps what a candidate sent out
    of the process that lives on.
    """
    while True:
        header, fds, _, _ = socket.recv_fds(control, 4, 1)
        job = receive(control, header) if header else None
        if job is None:
            return
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                apply_limits(job["limits"])
                send(control, check(job, socket.socket(fileno=fds[0])))
                code = 0
            finally:
                os._exit(code)
        os.close(fds[0])
        if os.waitpid(pid, 0)[1]:
            send(control, {"passed": False, "reason": "the check itself ran into a limit"})


if __name__ == "__main__":
    # Untrusted code may print without end or read what is on standard input: neither is the verdict's
    # business.
    {"program": program, "candidate": candidate, "checker": checker}[sys.argv[1]](
        socket.socket(fileno=int(sys.argv[2]))
    )
