"""Object storage: `s3://bucket/prefix`, or `file:///directory` where there is no cloud.

Credentials come from the standard places (environment, web identity, container or instance role). Errors come out as
one cause and one remedy: the library's own text holds the key id and, in part, the signature.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import IO, TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from weighted_mtp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from obstore import GetOptions

T = TypeVar("T")
PART_BYTES = 16 << 20
MAX_PARTS = 9000  # S3 takes 10000
UPLOADS_AT_A_TIME = 8
PATIENCE_SECONDS = 180.0  # how long one thing may keep failing; WMTP_STORE_PATIENCE_SECONDS says otherwise
WRITE_TEST = "write-test.tmp"
SMALL_RETRIES = 3  # within one call; longer trouble is waited out by `patiently`, which can be stopped
CREDENTIAL_SOURCES = ("169.254.169.254", "169.254.170.", "InstanceCredential", "WebIdentity")
CREDENTIAL_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
CREDENTIALS_REMEDY = (
    "give the run AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (organization secrets), or a role of its machine"
)


class Unavailable(Exception):
    """The storage does not answer, or not now: the same may work in a minute."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = "the run resumes by itself; if it does not, look at the network and the storage's status page"


@dataclass(frozen=True)
class Object:
    """What a listing says of one object."""

    size: int
    e_tag: str | None


class Place:
    """Everything below one URI. Names are relative to it, with `/` between their parts."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        scheme, separator, rest = self.uri.partition("://")
        bucket, _, prefix = rest.partition("/")
        if separator and scheme == "file" and not bucket and prefix:
            self._prefix = unquote(prefix)
        elif separator and scheme == "s3" and bucket and prefix:
            self._prefix = prefix
        else:
            raise InputError(f"{uri!r} is no place to read or write", "write s3://BUCKET/PREFIX, or file:///DIRECTORY")
        self.bucket = bucket or None
        self._store = self._open()

    def _open(self) -> Any:
        from obstore.store import LocalStore, S3Store

        if self.bucket is None:
            return LocalStore("/")
        if not _has_credentials():
            raise InputError(f"no AWS credentials to reach {self.uri}", CREDENTIALS_REMEDY)
        plain = os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true"  # options given here hide the environment's
        return S3Store(
            self.bucket,
            client_options={
                "timeout": timedelta(seconds=60),
                "connect_timeout": timedelta(seconds=10),
                "allow_http": plain,
            },
            retry_config={"max_retries": SMALL_RETRIES, "retry_timeout": timedelta(seconds=60)},
        )

    def list(self) -> dict[str, Object]:
        """Every object, by name."""
        import obstore

        prefix = f"{self._prefix}/"
        found = self._call("list", lambda: obstore.list(self._store, self._prefix).collect())
        return {
            item["path"].removeprefix(prefix): Object(item["size"], item["e_tag"])
            for item in found
            if item["path"].startswith(prefix)
        }

    def read(self, name: str) -> bytes | None:
        """The content of a small object; None where there is none."""
        import obstore

        try:
            return self._call("read", lambda: bytes(obstore.get(self._store, self._key(name)).bytes()), missing=True)
        except FileNotFoundError:
            return None

    def read_part(self, name: str, version: Object, start: int, end: int) -> tuple[Any, str | None]:
        """Bytes [start, end) of the very version that was listed, and what `sha256` says of it."""

        def read() -> tuple[Any, str | None]:
            answer = self._get(name, version, {"range": (start, end)})
            return answer.bytes(), _stored_sha256(answer)

        return self._call("read", read)

    def sha256(self, name: str, version: Object) -> str | None:
        """The hash, in hex, that whoever uploaded the whole object stored with it; None where there is none."""
        if self.bucket is None:
            return None
        return self._call("read", lambda: _stored_sha256(self._get(name, version, {"head": True})))

    def _get(self, name: str, version: Object, options: GetOptions) -> Any:
        import obstore

        if version.e_tag:
            options["if_match"] = version.e_tag
        return obstore.get(self._store, self._key(name), options=options)

    def write(self, name: str, content: bytes | IO[bytes], size: int) -> Object:
        """Put an object; readers see the old or the new one, never a part."""
        import obstore

        part = max(PART_BYTES, -(-size // MAX_PARTS))
        result = self._call(
            "write",
            lambda: obstore.put(
                self._store, self._key(name), content, chunk_size=part, max_concurrency=UPLOADS_AT_A_TIME,
                use_multipart=size > part,
            ),
        )  # fmt: skip
        return Object(size, result["e_tag"])

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error."""
        import obstore

        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self._call("delete", partial(obstore.delete, self._store, self._key(name)), missing=True)

    def check_writable(self) -> None:
        """Raises InputError where nothing can be written or removed: better now than after hours of training."""
        self.write(WRITE_TEST, b"x", 1)
        self.delete([WRITE_TEST])

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    def _call(self, action: str, call: Callable[[], T], *, missing: bool = False) -> T:
        from obstore.exceptions import BaseError

        try:
            return call()
        except FileNotFoundError as error:
            if missing:
                raise
            raise InputError(f"{self.uri} vanished while it was read", "start the run again") from error
        except BaseError as error:
            raise self._explained(action, str(error)) from None  # the text of the cause is not for logs

    def _explained(self, action: str, detail: str) -> Exception:
        """The error that says what to do about `detail`, the library's account of what went wrong."""
        if any(source in detail for source in CREDENTIAL_SOURCES):
            return InputError(f"no AWS credentials to {action} {self.uri}", CREDENTIALS_REMEDY)
        status = _found(r"non-2xx status code: (\d+)", detail)
        code = _found(r"<Code>([A-Za-z]+)</Code>", detail)
        message = (_found(r"<Message>([^<]*)</Message>", detail) or "").replace("&#34;", '"').rstrip(". ")
        said = f"{code}: {message}" if code and message else code or (f"status {status}" if status else "")
        if code == "NoSuchBucket":
            return InputError(f"bucket {self.bucket} does not exist", "is the storage of this stack up? run pulumi up")
        if code in ("AuthorizationHeaderMalformed", "PermanentRedirect"):
            return InputError(f"cannot {action} {self.uri} ({said})", "set AWS_DEFAULT_REGION to the bucket's region")
        if code in ("ExpiredToken", "InvalidToken", "TokenRefreshRequired"):
            return InputError(f"the AWS credentials have expired ({said})", "renew the run's secrets, then resume it")
        if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "XAdminUserNotFound"):
            return InputError(f"S3 does not know the run's AWS credentials ({code})", CREDENTIALS_REMEDY)
        if code == "RequestTimeTooSkewed":
            return InputError(f"the clock of this machine is wrong ({said})", "choose another cluster")
        if status in ("401", "403"):
            return InputError(
                f"S3 refuses to {action} {self.uri} ({said})",
                f"allow the run's access key s3:ListBucket on {self.bucket} and s3:GetObject, s3:PutObject and "
                "s3:DeleteObject below that prefix",
            )
        if "BadScheme" in detail:
            return InputError("AWS_ENDPOINT_URL is not https", "use TLS, or set AWS_ALLOW_HTTP=true for a test")
        if status == "412" or "precondition" in detail:
            return InputError(f"{self.uri} changed while it was read", "start the run again")
        if status and status[0] == "4" and status not in ("408", "429") and code not in ("RequestTimeout", "SlowDown"):
            return InputError(f"cannot {action} {self.uri} ({said})", "look at the bucket and its permissions")
        if "os error 28" in detail:
            return InputError(f"cannot {action} {self.uri}: No space left on device", "free space, then resume")
        if self.bucket is None:
            reason = _found(r"(?m)^([^\n]*\(os error \d+\))", detail) or "it cannot be reached"
            return InputError(f"cannot {action} {self.uri}: {reason}", "look at the directory and its permissions")
        return Unavailable(f"cannot {action} {self.uri} ({said or 'no answer'})")


def _stored_sha256(answer: Any) -> str | None:
    """The launcher's `x-amz-meta-sha256`. Other tools may mean something else by that name."""
    found = answer.attributes.get("sha256", "")
    return found if re.fullmatch(r"[0-9a-f]{64}", found) else None


def _has_credentials() -> bool:
    """False where there are surely none; an instance's role is seen only when it is asked for."""
    given = [name for name in CREDENTIAL_VARIABLES if name in os.environ]
    if given:
        return bool(os.environ[given[0]])
    return os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true"


def _found(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match[1] if match else None


def patience() -> float:
    """Seconds for which trouble with the storage is waited out."""
    return float(os.environ.get("WMTP_STORE_PATIENCE_SECONDS", PATIENCE_SECONDS))


def patiently(call: Callable[[], T], pause: Callable[[float], None] = time.sleep) -> T:
    """What `call` returns, tried again while the storage is unavailable. `pause` may raise to stop trying."""
    give_up = time.monotonic() + patience()
    wait = 0.5
    while True:
        try:
            return call()
        except Unavailable:
            left = give_up - time.monotonic()
            if left <= 0:
                raise
            pause(min(wait * random.uniform(0.5, 1.5), left))
            wait = min(2 * wait, 15.0)
