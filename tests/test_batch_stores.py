"""Stores other than a folder: one in memory, one that fails every tenth write, one of S3's kind."""

from __future__ import annotations

import os
import random

import fsspec
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from threestudio_like.engine.errors import OutputError
from threestudio_like.runs.batch import files as batch_files
from threestudio_like.runs.batch.files import Files
from threestudio_like.runs.batch.items import Spec
from threestudio_like.runs.batch.store import Store

from .batches import batch, manifest, products, sixty


class Failing(MemoryFileSystem):
    """A file system in memory whose every tenth write fails: half of these before anything is
    written, half when all is."""

    protocol = "failing"
    store: dict = {}  # noqa: RUF012 (fsspec's own way: all instances share one)
    pseudo_dirs = [""]  # noqa: RUF012
    cachable = False
    writes = failures = 0
    puts_whole = True
    always = False

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        kind = type(self)
        kind.writes += 1
        fails = kind.always or kind.writes % 10 == 0
        if fails:
            kind.failures += 1
            if kind.failures % 2:
                raise OSError("the network is away")
        super().pipe_file(path, value, mode=mode, **kwargs)
        if fails:
            raise OSError("the answer was lost")


fsspec.register_implementation("failing", Failing, clobber=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(batch_files, "DELAY", 0.0)
    Failing.store.clear()
    Failing.writes = Failing.failures = 0
    Failing.always = False


@pytest.fixture
def calm(tmp_path):
    """What an undisturbed batch makes, and its manifest."""
    path = sixty(tmp_path / "m.yaml")
    assert batch(path, "--store", tmp_path / "calm") == 0
    return path, products(tmp_path / "calm")


def test_a_store_that_fails_every_tenth_write_holds_every_item_once(calm):
    path, expected = calm
    assert batch(path, "--store", "failing://b/store") == 0
    assert Failing.failures > 10
    assert products("failing://b/store") == expected
    assert len(Store("failing://b/store").files.names("done")) == 60


def test_a_store_that_fails_for_good_loses_nothing_and_says_so(calm, capsys):
    path, expected = calm
    assert batch(path, "--store", "failing://b/store") == 0
    Failing.always = True
    with pytest.raises(OutputError, match="failed 6 times"):
        Store("failing://b/store").files.write("x", b"")
    assert batch(path, "--store", "failing://b/store") == 2
    assert capsys.readouterr().err.count("\n") == 1
    Failing.always = False
    assert products("failing://b/store") == expected


def test_a_store_in_memory(calm):
    path, expected = calm
    assert batch(path, "--store", "memory://b/one") == 0
    assert products("memory://b/one") == expected
    assert batch("resume", "--store", "memory://b/one") == 0
    assert batch("verify", "--store", "memory://b/one") == 0


@pytest.mark.parametrize("address", ["memory://c/two", "failing://c/two", "folder"])
def test_of_two_that_publish_one_counts_and_the_other_leaves_nothing(address, tmp_path):
    address = str(tmp_path / "store") if address == "folder" else address
    store, other = Store(address, make=True), Store(address, make=True)
    spec = Spec(command="x", values={"seed": 1})
    folders = []
    for n in range(2):
        folder = tmp_path / f"made {n}"
        folder.mkdir()
        (folder / "asset.bin").write_bytes(b"the same")
        (folder / "events.jsonl").write_bytes(f"of worker {n}".encode())
        folders.append(folder)
    known = store.record
    # The other publishes after this one has looked.
    looks = iter([None])
    store.record = lambda id: next(looks, None) or (known(id) if next(again, False) else None)
    again = iter([False, True])
    second, new = other.publish(spec, folders[1], {})
    assert new
    first, new = store.publish(spec, folders[0], {})
    assert not new
    assert first["attempt"] == second["attempt"]
    assert list(other.verify()) == []
    assert other.content(second, "events.jsonl") == b"of worker 1"


def test_files_of_a_disk_behind_fsspec_are_written_aside(tmp_path):
    class Plain(DirFileSystem):
        protocol = "plain"
        cachable = False

        def __init__(self, **kwargs):
            super().__init__(path=str(tmp_path), fs=fsspec.filesystem("file"))

        def mv(self, a, b, **kwargs):
            assert a.rpartition("/")[2].startswith(".")
            return super().mv(a, b, **kwargs)

    fsspec.register_implementation("plain", Plain, clobber=True)
    files = Files("plain://store")
    files.write("a/b.txt", b"one")
    files.write("a/b.txt", b"two")
    assert files.read("a/b.txt") == b"two"
    assert not files.create("a/b.txt", b"three")
    assert files.create("a/c.txt", b"three")
    assert files.names("a") == ["a/b.txt", "a/c.txt"]
    files.remove("a")
    assert files.names("a") == []


@pytest.fixture
def bucket(monkeypatch):
    """A bucket of an S3-compatible server on this machine."""
    pytest.importorskip("s3fs")
    server_module = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    name = f"batch-{random.randrange(10**9)}"
    boto3.client("s3").create_bucket(Bucket=name)
    yield f"s3://{name}/store"
    server.stop()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_a_store_on_s3(bucket, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"x" * 1000)
    rows = [{"prompt": ["a", "b", "c"], "seeds": "0-2", "file": "a.bin"}]
    path = manifest(tmp_path / "m.yaml", *rows)
    assert batch(path, "--store", tmp_path / "calm") == 0
    assert batch(path, "--store", bucket) == 0
    assert products(bucket) == products(tmp_path / "calm")
    # The store alone is enough, and a record is made once.
    store = Store(bucket)
    assert not store.files.create("store.json", b"other")
    (tmp_path / "a.bin").unlink()
    id = sorted(store.done())[0]
    store.files.remove(f"done/{id[:2]}/{id}.json")
    assert batch("resume", "--store", bucket) == 0
    assert len(Store(bucket).done()) == 9
    assert os.environ["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1")
