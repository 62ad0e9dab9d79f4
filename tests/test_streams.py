"""Standard output that takes no more: a pipe whose reader has gone, a full disk. In processes of
their own, for Python empties its buffer once more when it ends."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

WORDS = (
    ("--help",),
    ("--version",),
    ("doctor", "--help"),
    ("generate", "a red chair", "--print-config"),
)
posix = pytest.mark.skipif(os.name == "nt", reason="pipes and /dev/full of POSIX")


def command(words: tuple[str, ...], out: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "threestudio_like", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
    )


@posix
@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_a_full_disk_is_one_line(words):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    with open("/dev/full", "w") as full:
        done = command(words, full)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "standard output: cannot be written" in done.stderr


@posix
@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_a_reader_that_has_gone_is_no_error_of_ours(words):
    read, write = os.pipe()
    os.close(read)
    try:
        done = command(words, write)
    finally:
        os.close(write)
    assert done.returncode == 130
    assert done.stderr == ""
