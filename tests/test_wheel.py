"""The wheel: what is in it, and that it works away from the checkout."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from threestudio_like.cli import main
from threestudio_like.commands.samples import KINDS, samples_folder, write_samples
from threestudio_like.engine.errors import OutputError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of a copy of the checkout, built without a network."""
    base = tmp_path_factory.mktemp("wheel")
    source = base / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("threestudio_like", "assets"):
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    build = "import sys; from setuptools import build_meta as b; print(b.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(base)], cwd=source, capture_output=True, text=True
    )
    if "No module named 'setuptools'" in done.stderr:
        pytest.skip("setuptools is not installed here")
    assert done.returncode == 0, done.stderr[-2000:]
    (found,) = base.glob("*.whl")
    return found


def test_the_wheel_holds_code_weights_and_samples(wheel):
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
    package = {n for n in names if n.startswith("threestudio_like/")}
    for path in (ROOT / "threestudio_like").rglob("*.py"):
        assert path.relative_to(ROOT).as_posix() in package
    for kind in KINDS:
        for path in (ROOT / "assets" / kind).iterdir():
            assert f"threestudio_like/assets/{kind}/{path.name}" in package
    for path in (ROOT / "threestudio_like" / "toybox" / "weights").rglob("*"):
        if path.is_file():
            assert path.relative_to(ROOT).as_posix() in package
    strangers = [n for n in names if n.split("/")[0].split("-")[0] != "threestudio_like"]
    assert not strangers


def test_the_wheel_works_away_from_the_checkout(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(tmp_path / "site")
    work = tmp_path / "elsewhere"
    work.mkdir()
    code = (
        "import sys, threestudio_like; from threestudio_like.cli import main\n"
        "assert threestudio_like.__file__.startswith(sys.argv[1]), threestudio_like.__file__\n"
        "sys.exit(main(['samples']) or main(['mesh', 'info', 'assets/meshes/teapot.obj'])"
        " or main(['reconstruct', 'assets/pictures/car.jpg', '--print-config']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site")],
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    named = re.findall(r"assets/[\w/]+\.\w+", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert named
    for name in named:
        assert (work / name).is_file(), name


def test_samples_are_written_through_the_guard(tmp_path, capsys):
    folder = tmp_path / "my files"
    new, total = write_samples(folder)
    assert len(new) == total > 20
    assert write_samples(folder) == ([], total)
    mine = folder / "pictures" / "car.jpg"
    mine.write_bytes(b"mine")
    (folder / "meshes" / "crate.obj").unlink()
    with pytest.raises(OutputError, match=r"car\.jpg"):
        write_samples(folder)
    assert mine.read_bytes() == b"mine"
    assert not (folder / "meshes" / "crate.obj").exists()
    assert main(["samples", str(folder), "--force"]) == 0
    assert "2 of them new" in capsys.readouterr().out
    assert mine.read_bytes() == (samples_folder() / "pictures" / "car.jpg").read_bytes()


def test_no_text_claims_a_package_index():
    """`pip install threestudio-like` would install somebody else's package, or nothing."""
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    files += [*(ROOT / "threestudio_like").rglob("*.py"), *(ROOT / "requirements").iterdir()]
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"pip\s+install\s+['\"]?threestudio[-_]like", text), path
