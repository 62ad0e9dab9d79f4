"""benchmarks/gpu.py runs where there is no GPU too, with small kernels and a tiny prior: it must
not have gone stale when there is one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_every_kernel_has_its_rows():
    import gpu

    rows = gpu.kernel_rows(torch.device("cpu"), False, lambda text: None)
    assert {r[0] for r in rows} >= set(gpu.CASES)
    grid = {r[1]: r for r in rows if r[0] == "hashgrid"}
    assert float(grid["cpu"][2]) > 0
    # Plain torch is as fast as itself.
    assert grid["plain torch"][3] == "1.0"
    assert "not measured here" in gpu.ratios(rows, [])


def test_steps_are_counted_and_the_networks_share_is_a_share(tmp_path):
    from gpu_steps import of_system
    from random_priors import RandomPrior, build_networks

    folder = build_networks(tmp_path, "tiny", torch.float32, "cpu")
    found = of_system("Latent-Paint", RandomPrior(folder, "tiny", "float32", "cpu"), 2, small=True)
    assert found.rate > 0
    assert 0 < found.share < 1


def test_a_step_as_others_write_it_learns(tmp_path):
    from eager_step import EagerLatentNerf
    from random_priors import build_networks

    from threestudio_like.kernels import HashGridSpec

    folder = build_networks(tmp_path, "tiny", torch.float32, "cpu")
    eager = EagerLatentNerf(
        folder, 32, 8, HashGridSpec(4, 10, 4, 64), torch.float32, torch.device("cpu"), 24
    )
    before = eager.geometry.encoding.table.detach().clone()
    eager()
    assert not torch.equal(before, eager.geometry.encoding.table)
