"""Object storage: names, versions, and what its errors say."""

from __future__ import annotations

import io

import obstore
import pytest
from storage import BUCKET, KEY, SECRET, Fault, Storage

from weighted_mtp.entry.store import PART_BYTES, Place, Unavailable, patiently
from weighted_mtp.errors import InputError

ODD = [
    "plain/file.txt", "with space/a b.txt", "hash#/x#y.txt", "question?/who?.txt", "percent%20/100%.txt",
    "ümläut/日本語 🎉.txt", "quote'\"/it's.txt", "a+b/c=d&e", ".hidden",
]  # fmt: skip


@pytest.fixture(params=["s3", "file"])
def uri(request: pytest.FixtureRequest, storage: Storage) -> str:
    name = request.node.name.split("[")[0]
    return f"s3://{BUCKET}/{name}" if request.param == "s3" else f"file://{storage.directory}/{BUCKET}/{name}"


def test_any_name_goes_there_and_back(uri: str) -> None:
    place = Place(f"{uri}/odd names/")
    for number, name in enumerate(ODD):
        place.write(name, name.encode() * number, len(name.encode()) * number)
    assert place.list().keys() == set(ODD)
    for number, name in enumerate(ODD):
        assert place.read(name) == name.encode() * number
    place.delete(ODD[:4])
    place.delete(ODD[:5])  # those that are gone are no error
    assert place.list().keys() == set(ODD[5:])


def test_nothing_is_there(uri: str) -> None:
    place = Place(f"{uri}/never")
    assert place.list() == {}
    assert place.read("x") is None


def test_a_prefix_is_a_directory_not_the_beginning_of_a_name(uri: str) -> None:
    Place(f"{uri}/model").write("a", b"1", 1)
    Place(f"{uri}/model-large").write("b", b"22", 2)
    assert Place(f"{uri}/model").list().keys() == {"a"}


def test_the_version_that_was_written_is_the_version_that_is_listed(uri: str) -> None:
    """Also of a large object, which goes in parts."""
    place = Place(uri)
    content = bytes(range(256)) * (PART_BYTES // 128)
    written = {"small": place.write("small", b"1", 1), "large": place.write("large", io.BytesIO(content), len(content))}
    assert place.list() == written
    assert place.read("large") == content
    part, sha256 = place.read_part("large", written["large"], 1000, 3000)
    assert (bytes(part), sha256) == (content[1000:3000], None)


def test_a_part_of_another_version_is_refused(uri: str) -> None:
    place = Place(uri)
    listed = place.write("x", b"12345678", 8)
    place.write("x", b"87654321 and more", 17)
    with pytest.raises(InputError, match="changed while it was read"):
        place.read_part("x", listed, 0, 4)


@pytest.mark.parametrize(("said", "hashed"), [("a" * 64, "a" * 64), ("A" * 64, None), ("aGFzaA==", None)])
def test_the_hash_that_an_object_carries(storage: Storage, said: str, hashed: str | None) -> None:
    place = Place(f"s3://{BUCKET}/carried")
    obstore.put(place._store, "carried/x", b"12345", attributes={"sha256": said})
    listed = place.list()["x"]
    assert place.sha256("x", listed) == hashed
    assert place.read_part("x", listed, 0, 2)[1] == hashed
    place.write("x", b"54321", 5)
    with pytest.raises(InputError, match="changed while it was read"):
        place.sha256("x", listed)


def test_where_nothing_can_be_written_is_known_at_once(uri: str, storage: Storage) -> None:
    place = Place(f"{uri}/sub")
    place.check_writable()
    assert place.list() == {}
    if uri.startswith("s3"):
        storage.faults = [Fault("PUT", 100, 403, "AccessDenied")]
        with pytest.raises(InputError, match=f"refuses to write {uri}/sub.*AccessDenied") as raised:
            place.check_writable()
        assert "s3:PutObject" in raised.value.remedy


@pytest.mark.parametrize("uri", ["", "x", "s3://", "s3://bucket", "s3:///x", "file://", "file://host/x", "gs://b/x"])
def test_what_is_no_place(uri: str) -> None:
    with pytest.raises(InputError, match="is no place"):
        Place(uri)


@pytest.mark.parametrize(
    ("change", "bucket", "cause"),
    [
        ({}, "nobody", "^bucket nobody does not exist\n"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, BUCKET, r"does not know the run's AWS credentials \(Signature"),
        ({"AWS_ACCESS_KEY_ID": "AKIAUNKNOWN"}, BUCKET, "does not know the run's AWS credentials"),
        ({"AWS_DEFAULT_REGION": "eu-west-9"}, BUCKET, 'cannot list .*"eu-west-9" is wrong; expecting "us-east-1"'),
        ({"AWS_SESSION_TOKEN": "planted-session-token"}, BUCKET, r"credentials have expired \(InvalidToken"),
        ({"AWS_ALLOW_HTTP": ""}, BUCKET, "AWS_ENDPOINT_URL is not https"),
    ],
)
def test_what_is_wrong_with_the_account(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], bucket: str, cause: str
) -> None:
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=cause) as raised:
        Place(f"s3://{bucket}/x").list()
    said = f"{raised.value}"
    assert raised.value.remedy
    assert not [secret for secret in (KEY, SECRET, *change.values()) if len(secret) > 10 and secret in said]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_trouble_that_may_pass(storage: Storage, status: int) -> None:
    storage.faults = [Fault("GET", 1000, status)]
    with pytest.raises(Unavailable, match=f"cannot list s3://{BUCKET}/x .*SlowDown"):
        Place(f"s3://{BUCKET}/x").list()


def test_no_answer_may_pass(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(Unavailable, match="no answer"):
        Place(f"s3://{BUCKET}/x").list()


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WMTP_STORE_PATIENCE_SECONDS", "0.5")
    tries = []

    def call() -> None:
        tries.append(1)
        raise Unavailable("down")

    with pytest.raises(Unavailable, match="down"):
        patiently(call)
    assert len(tries) > 1


def test_patience_is_rewarded() -> None:
    answers = iter([Unavailable("a"), Unavailable("b"), 42])

    def call() -> int:
        answer = next(answers)
        if isinstance(answer, Unavailable):
            raise answer
        return answer

    assert patiently(call, pause=lambda _: None) == 42
