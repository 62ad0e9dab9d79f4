"""benchmarks/agreement.py: every row is within its bound, and one beyond it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("embreex")
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_every_row_is_within_its_bound():
    import agreement

    rows, beyond = agreement.rows_of(list(agreement.CHECKS), 1)
    assert beyond == []
    assert len(rows) >= len(agreement.CHECKS)
    page = (BENCHMARKS.parent / "docs" / "results" / "agreement.md").read_text(encoding="utf-8")
    for what, *_ in rows:
        assert f"| {what} |" in page


def test_what_is_beyond_its_bound_is_told(monkeypatch, capsys):
    import agreement

    for wrong in (2.0, float("nan")):
        bad = agreement.Check("nothing", lambda times, w=wrong: [("a thing", 1, w, "", 1.0)])
        monkeypatch.setitem(agreement.CHECKS, "ddim", bad)
        monkeypatch.setattr("sys.argv", ["agreement.py", "--only", "ddim"])
        assert agreement.main() == 1
        assert "Beyond its bound: a thing" in capsys.readouterr().err


def test_a_wrong_kernel_is_found(monkeypatch):
    """The checks can fail: mips that drop the odd row, and distances that are a little short."""
    import agreement
    import agreement_of_numbers
    import agreement_of_surfaces

    def dropping(texels, levels):
        out = [texels]
        while len(out) <= levels and min(out[-1].shape[-2:]) > 1:
            out.append(agreement_of_numbers.torch.nn.functional.avg_pool2d(out[-1], 2))
        return out

    monkeypatch.setattr(agreement_of_numbers, "pyramid", dropping)
    assert agreement.rows_of(["mips"], 1)[1]
    nearest = agreement_of_surfaces.kernels.nearest
    monkeypatch.setattr(
        agreement_of_surfaces.kernels,
        "nearest",
        lambda tree, at: (nearest(tree, at)[0] * (1 - 1e-5), *nearest(tree, at)[1:]),
    )
    assert agreement.rows_of(["nearest"], 1)[1]
