"""Machines and homes that are not the developer's: Windows' missing modules, no home, a cache that
cannot be written, terminals of ASCII, names and prompts in any script."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from threestudio_like.cli import main
from threestudio_like.engine.config import update
from threestudio_like.engine.errors import ConfigError, InputError, UserError, VocabularyError
from threestudio_like.engine.memory import peak_memory_mb
from threestudio_like.engine.places import cache_folder, expand_paths, user_path
from threestudio_like.engine.text import json_text, line_name, lines_of, printable, slug, words_of
from threestudio_like.runs.options import check_prompt
from threestudio_like.runs.prior import check_vocabulary
from threestudio_like.toybox.vocabulary import split, unknown_words

ROOT = Path(__file__).resolve().parent.parent

IMPORT_ALL = """
import importlib, importlib.abc, os, pkgutil, signal, sys

# What torch and the others want of the system is theirs to ask for.
import numba, torch, scipy, scipy.sparse.csgraph, scipy.spatial, tyro, rich, yaml, PIL.Image, trimesh
import trimesh.exchange.ply, trimesh.exchange.stl, skimage.measure, safetensors.torch, imageio.v2
import diffusers, transformers, multiprocessing, subprocess, tempfile, http.server, logging.handlers
import transformers.models.clip.modeling_clip
GONE = {"resource", "fcntl", "pwd", "grp", "termios", "pty", "tty", "syslog", "posix_ipc", "readline"}

class Windows(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in GONE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in GONE:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Windows())
for name in ("fork", "forkpty", "getuid", "geteuid", "getgid", "getegid", "uname", "sched_getaffinity",
             "nice", "getloadavg", "setsid", "killpg", "getpgid", "sysconf", "statvfs", "mkfifo",
             "chown", "O_DIRECTORY", "O_NOFOLLOW", "WNOHANG", "wait3", "wait4", "pread", "sync"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGQUIT", "SIGCHLD", "alarm",
             "setitimer", "pause", "sigwait", "pthread_sigmask"):
    if hasattr(signal, name):
        delattr(signal, name)
import errno
del errno.EDQUOT
import threestudio_like
count = 0
# Kernels of Triton and of vendors are imported where those are installed.
for info in pkgutil.walk_packages(threestudio_like.__path__, "threestudio_like."):
    if info.name.endswith("__main__") or ".kernels.cuda." in info.name or ".kernels.vendors." in info.name:
        continue
    importlib.import_module(info.name)
    count += 1
from threestudio_like.engine.memory import peak_memory_mb
assert peak_memory_mb() is None
from threestudio_like.engine.places import cache_folder, writable_cache
writable_cache("test")
print(count)
"""


def python(code, cwd, **environment):
    """Run Python code in a process of its own: environment values of None are removed."""
    told = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={k: v for k, v in told.items() if v is not None},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=500,
    )


def test_every_module_imports_without_what_windows_lacks(tmp_path):
    done = python(IMPORT_ALL, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) > 150


def test_peak_memory_is_of_this_process():
    peak = peak_memory_mb()
    assert peak is not None
    assert 50 < peak < 100_000


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "threestudio-like"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / ".cache" / "threestudio-like"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder() == tmp_path / "x" / "threestudio-like"


NO_PASSWD = """
import os, pwd
def nobody(*_):
    raise KeyError("no such user")
pwd.getpwuid = pwd.getpwnam = nobody
"""
USE_A_KERNEL = """
import numpy as np, torch
from threestudio_like.meshes.mesh import Mesh
m = Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32)).with_creases()
assert np.isfinite(m.normals).all()
from threestudio_like.kernels.compiling import CACHE
from threestudio_like.priors.hub import models_folder
import sys
print("cache", CACHE, os.environ.get("NUMBA_CACHE_DIR"), models_folder())
"""


def test_without_a_home_and_without_a_name(tmp_path):
    code = NO_PASSWD + USE_A_KERNEL
    done = python(
        code, tmp_path, HOME=None, XDG_CACHE_HOME=None, NUMBA_CACHE_DIR=None, TMPDIR=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr[-2000:]
    folder = Path(done.stdout.split()[2])
    assert folder.is_relative_to(tmp_path)
    # Compiled code is run when it is read: nobody else may write it.
    assert folder.parent.stat().st_mode & 0o077 == 0


def test_a_cache_that_cannot_be_written_is_said_once_and_stops_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "t").mkdir()
    again = "import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', 'import threestudio_like.kernels']).returncode)"
    done = python(
        "import os\n" + USE_A_KERNEL + again,
        tmp_path,
        XDG_CACHE_HOME=str(tmp_path / "file"),
        NUMBA_CACHE_DIR=None,
        TMPDIR=str(tmp_path / "t"),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("cannot be written") == 1
    assert "Set XDG_CACHE_HOME" in done.stderr
    assert Path(done.stdout.split()[2]).is_relative_to(tmp_path / "t")


def test_without_any_folder_that_can_be_written(tmp_path):
    code = """
import os, tempfile
import threestudio_like.engine.places as places
places._usable = lambda folder: False
tempfile.mkdtemp = lambda *a, **k: (_ for _ in ()).throw(OSError("read-only"))
"""
    done = python(code + USE_A_KERNEL, tmp_path, NUMBA_CACHE_DIR=None, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("cache False None")
    assert "every start compiles anew" in done.stderr


def test_a_folder_of_somebody_elses_is_not_trusted(tmp_path):
    name = f"threestudio-like-{os.getuid()}"
    (tmp_path / name).mkdir()
    (tmp_path / name).chmod(0o777)
    code = NO_PASSWD + USE_A_KERNEL
    done = python(
        code, tmp_path, HOME=None, XDG_CACHE_HOME=None, NUMBA_CACHE_DIR=None, TMPDIR=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not Path(done.stdout.split()[2]).is_relative_to(tmp_path / name)


@dataclass
class Paths:
    one: Path | None = None
    several: tuple[Path, ...] = ()
    text: str = "~/x"


def test_a_tilde_is_the_home_everywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/x") == tmp_path / "x"
    assert user_path("~") == tmp_path
    assert user_path("a/~/b") == Path("a/~/b")
    assert user_path("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")
    assert expand_paths(Paths(Path("~/a"), (Path("~/b"), Path("c")))) == Paths(
        tmp_path / "a", (tmp_path / "b", Path("c"))
    )
    assert expand_paths({"out": Path("~/a"), "n": 1}) == {"out": tmp_path / "a", "n": 1}
    configured = update(Paths(), {"one": "~/a"})
    assert configured.one == tmp_path / "a"


def test_a_tilde_without_a_home_is_one_line(monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda p: p)
    with pytest.raises(ConfigError, match="Set HOME"):
        user_path("~/x")


def test_commands_know_the_tilde_spaces_and_every_script(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "мои 模型 🪑"
    folder.mkdir()
    (folder / "стул №1.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    tilde = "~/мои 模型 🪑"
    assert main(["mesh", "convert", f"{tilde}/стул №1.obj", "--out", f"{tilde}/椅子 a.glb"]) == 0
    assert main(["mesh", "info", f"{tilde}/椅子 a.glb", "--json"]) == 0
    assert main(["export", f"{tilde}/椅子 a.glb", "--to", "obj", "ply", "stl", "--verify"]) == 0
    assert sorted(p.suffix for p in folder.iterdir()) == [
        ".glb", ".mtl", ".obj", ".obj", ".ply", ".stl",
    ]  # fmt: skip
    assert not (tmp_path / "~").exists()


SCRIPTS = {
    "红色的椅子": ["红色的椅子"],
    "μια κόκκινη καρέκλα": ["μια", "κόκκινη", "καρέκλα"],
    "एक लाल कुर्सी": ["एक", "लाल", "कुर्सी"],
    "كرسي أحمر": ["كرسي", "أحمر"],
    "红色 chair、“round”。": ["红色", "chair", "round"],
    "a 🪑 and a 👩‍🚀": ["a", "🪑", "and", "a", "👩‍🚀"],
    "Ünïcode CAFÉ": ["ünïcode", "café"],
    "a <my-thing> (red), $5": ["a", "<my-thing>", "red", "5"],
}


@pytest.mark.parametrize("prompt", SCRIPTS)
def test_words_of_every_script(prompt):
    assert split(prompt) == SCRIPTS[prompt]
    check_prompt(prompt)


@pytest.mark.parametrize("prompt", ["!?", "。、", "“ ”", "\u200b"])
def test_a_prompt_without_words_is_refused(prompt):
    with pytest.raises(InputError, match="the prompt holds no words"):
        check_prompt(prompt)


def test_ascii_prompts_are_split_as_ever():
    import re

    text = "".join(map(chr, range(128))) + " A red-ish, <concept_1> chair; 3.5x (blue)"
    assert split(text) == re.findall(r"[a-z0-9<>_-]+", text.lower())


def test_the_closed_vocabulary_names_a_word_of_another_script():
    class Prior:
        class facts:
            vocabulary = ("a", "red", "chair")
            world = "twenty"

    assert [w.word for w in unknown_words("红色 chair 🪑", ("chair",))] == ["红色", "🪑"]
    with pytest.raises(VocabularyError, match="红色"):
        check_vocabulary(Prior(), "a 红色 chair")


def test_names_of_folders_and_nodes_keep_their_script():
    assert slug("A red chair!", "-", 40) == "a-red-chair"
    assert slug("红色的椅子", "_", 60) == "红色的椅子"
    assert slug("एक लाल कुर्सी", "-", 40) == "एक-लाल-कुर्सी"
    assert slug("🪑🪑", "-", 40) == ""
    assert slug("../../etc/passwd\0\n", "-", 40) == "etc-passwd"
    assert words_of("a-b c", "") == ["a", "b", "c"]


def test_names_stay_within_what_the_system_can_hold(monkeypatch):
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "latin-1")
    assert slug("café 红 chair", "-", 40) == "café-chair"


def test_text_for_a_terminal():
    assert (
        printable("a\x1b[31mb\0c\x9bd")
        == "a\N{REPLACEMENT CHARACTER}[31mb\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}d"
    )
    assert printable("a\nb\u2028c\td") == "a b c d"
    assert printable("a\nb\x1b", lines=True) == "a\nb\N{REPLACEMENT CHARACTER}"
    assert "\u202e" not in printable("abc\u202egpj.exe")
    assert printable("红色的椅子 👩‍🚀 é") == "红色的椅子 👩‍🚀 é"
    assert line_name(" a \n\n b ") == "a b"
    assert line_name("\n", "surface") == "surface"
    assert "\x1b" not in UserError("a\x1b[2J\nb", "c\x1b").line()
    assert "\x1b" not in lines_of({"a\x1b": {"b\x1b": "c\x1b", "d": ["e\x1b"]}})


@pytest.mark.parametrize("locale", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])  # fmt: skip
def test_a_terminal_of_ascii_shows_something(tmp_path, locale):
    (tmp_path / "m.obj").write_text(
        "o 红色的椅子\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", encoding="utf-8"
    )
    code = (
        "import sys; from threestudio_like.cli import main\n"
        "a = main(['mesh', 'info', 'm.obj']); b = main(['vocabulary']); c = main(['--help'])\n"
        "d = main(['mesh', '--help']); e = main(['generate', 'x' * 3 + chr(0x7ea2), '--out', 'o'])\n"
        "sys.exit(0 if (a, b, c, d, e) == (0, 0, 0, 0, 2) else 1)"
    )
    done = python(code, tmp_path, **locale)
    assert done.returncode == 0, done.stderr[-1500:]
    assert "\\u7ea2\\u8272" in done.stdout
    assert "\\u7ea2" in done.stderr


def test_json_is_what_the_standard_has():
    found = json.loads(
        json_text(
            {"a": float("nan"), "b": [np.float32(1), -np.inf], 3: Path("x"), "d": np.arange(2)}
        ),
        parse_constant=lambda name: pytest.fail(f"{name} is not JSON"),
    )
    assert found == {"a": None, "b": [1.0, None], "3": "x", "d": [0, 1]}


def test_mesh_info_json_survives_names_and_numbers(tmp_path, capsys):
    (tmp_path / "m.obj").write_text(
        "o faces\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\no file\nf 1 3 2\n"
    )
    assert main(["mesh", "info", str(tmp_path / "m.obj"), "--json"]) == 0

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert found["faces"] == 2
    assert found["file"].endswith("m.obj")
    assert set(found["meshes"]) == {"faces", "file"}
