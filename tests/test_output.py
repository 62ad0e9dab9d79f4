"""Nothing of the user's is ever replaced unless he says so: the guard, and that every writer of the
package goes through it."""

import ast
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest

import threestudio_like
from threestudio_like.cli import main
from threestudio_like.engine.errors import OutputError, VideoError
from threestudio_like.engine.output import (
    GUARD,
    MadeFiles,
    check_free,
    made_here,
    new_file,
    new_folder,
    own_folder,
    write_file,
    write_files,
)
from threestudio_like.meshes.mesh import Asset, Mesh
from threestudio_like.priors.text.embeddings import EmbeddingStore
from threestudio_like.reports import turntable

PACKAGE = Path(threestudio_like.__file__).parent
USERS = b"the user's own words"


def box(texture: bool = True) -> Asset:
    vertices = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
    faces = [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]]
    faces += [[2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]
    mesh = Mesh(vertices, np.array(faces, np.int32))
    if texture:
        mesh.uv = vertices[:, :2].copy()
        mesh.texture = np.full((8, 8, 3), 120, np.uint8)
    return Asset({"box": mesh})


# What writes, besides engine/output.py itself, and why it may.
ALLOWED = {
    "engine/events.py": "appends lines to a run's own log",
    "runs/lock.py": "holds a run's own lock open",
    "engine/schema/yaml_text.py": "makes text, writes no file",
    "runs/folders.py": "a probe of a folder that was just made",
    "meshes/texture/unwrap.py": "a temporary folder, between this process and xatlas's",
    "toybox/pairs.py": "a memory map of drawn pictures in the program's cache",
    "runs/delivery.py": "moves the asset that was verified within a run's own folder",
    "training/all.py": "copies models that the same training has made",
}
WRITERS = {
    "write_text",
    "write_bytes",
    "save",
    "savez",
    "savez_compressed",
    "save_file",
    "imwrite",
    "imsave",
    "get_writer",
    "save_pretrained",
    "copyfile",
    "copy2",
    "copytree",
    "move",
    "tofile",
    "savetxt",
    "open_memmap",
    "rename",
    "replace",
    "symlink_to",
    "hardlink_to",
    "touch",
    "dump",
    "to_csv",
}


def _writes(call: ast.Call) -> str:
    """The name of a call that writes a file, or nothing."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    texts = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    texts += [
        k.value.value
        for k in call.keywords
        if k.arg == "mode" and isinstance(k.value, ast.Constant)
    ]
    if name in ("open", "fdopen", "open_memmap"):
        modes = [t for t in texts if set(t) <= set("rwaxbt+") and set(t) & set("wax+")]
        return name if modes else ""
    if name not in WRITERS:
        return ""
    if name in ("replace", "rename"):
        # Path.replace(target) and os.replace(a, b); not str.replace("a", "b") or
        # dataclasses.replace.
        owner = getattr(call.func, "value", None)
        if isinstance(owner, ast.Name) and owner.id == "os":
            return name
        return name if owner is not None and len(call.args) == 1 and not call.keywords else ""
    if name == "dump":
        owner = getattr(call.func, "value", None)
        return (
            name if isinstance(owner, ast.Name) and owner.id in ("json", "yaml", "pickle") else ""
        )
    return name


def _guarded(tree: ast.AST) -> set[ast.AST]:
    """Calls within `with new_file(...)` or `with new_folder(...)`: what is written there is
    guarded."""
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.With) and any(
            isinstance(i.context_expr, ast.Call)
            and getattr(i.context_expr.func, "id", "") in ("new_file", "new_folder")
            for i in node.items
        ):
            inside |= {n for statement in node.body for n in ast.walk(statement)}
    return inside


def _to_memory(call: ast.Call) -> bool:
    """Whether it writes into a buffer of bytes, or is one of our own guarded methods."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    first = call.args[0] if call.args else None
    if name == "save":
        owner = getattr(call.func, "value", None)
        # `safetensors.torch.save(tensors)` gives bytes; pictures are saved into a `buffer`.
        return owner is None or (isinstance(first, ast.Name) and first.id == "buffer")
    return False


OWN_SAVES = {"asset", "own", "model", "judge", "store", "embeddings", "eval"}
"""Owners of `.save` that are this package's classes, whose methods go through the guard."""


def _loose(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = _guarded(tree)
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or node in inside or not _writes(node):
            continue
        if _to_memory(node):
            continue
        owner = getattr(node.func, "value", None)
        if isinstance(owner, ast.Call):
            owner = owner.func
        label = getattr(owner, "attr", getattr(owner, "id", ""))
        if getattr(node.func, "attr", "") == "save" and label in OWN_SAVES:
            continue
        found.append(
            f"{path.relative_to(PACKAGE).as_posix()}:{node.lineno}: {ast.unparse(node)[:90]}"
        )
    return found


def test_every_writer_goes_through_the_guard():
    loose = [line for path in sorted(PACKAGE.rglob("*.py")) for line in _loose(path)]
    strange = [line for line in loose if line.split(":")[0] not in {*ALLOWED, "engine/output.py"}]
    assert not strange, "\n".join(strange)
    # A reason that nothing needs any more goes.
    assert set(ALLOWED) <= {line.split(":")[0] for line in loose}


@pytest.mark.parametrize(
    "code",
    [
        "open(p, 'wb').write(b'')",
        "open(p, mode='a')",
        "p.write_text('x')",
        "np.savez(p, a=1)",
        "picture.save(p)",
        "os.replace(a, b)",
        "a.replace(b)",
        "json.dump(x, f)",
        "model.save_pretrained(p)",
        "imageio.get_writer(p)",
    ],
)
def test_the_search_finds_what_it_is_for(code, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "a.py").write_text(code)
    assert len(_loose(tmp_path / "a.py")) == 1
    (tmp_path / "a.py").write_text(f"with new_file(q) as p:\n    {code}")
    assert not _loose(tmp_path / "a.py")


def test_a_file_that_exists_is_kept_unless_forced(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(USERS)
    for write in (
        lambda: write_file(path, b"new"),
        lambda: new_file(path).__enter__(),
        lambda: check_free([path]),
    ):
        with pytest.raises(OutputError, match="--force"):
            write()
    assert path.read_bytes() == USERS
    write_file(path, b"new", force=True)
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_of_several_files_all_are_checked_before_the_first(tmp_path):
    (tmp_path / "z.txt").write_bytes(USERS)
    with pytest.raises(OutputError, match=r"z\.txt"):
        write_files({tmp_path / "a.txt": b"a", tmp_path / "z.txt": b"z"})
    assert [p.name for p in tmp_path.iterdir()] == ["z.txt"]


def test_a_write_that_fails_leaves_nothing_half_done(tmp_path, monkeypatch):
    real = os.fsync

    def full(descriptor):
        if len(list(tmp_path.iterdir())) == 2:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="the disk is full"):
        write_files({tmp_path / "a.txt": b"a", tmp_path / "b.txt": b"b"})
    assert not list(tmp_path.iterdir())


def test_links_and_folders_are_the_users_too(tmp_path):
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    for name in ("dangling", "folder"):
        with pytest.raises(OutputError):
            write_file(tmp_path / name, b"")
    with pytest.raises(OutputError, match="folder of that name"):
        write_file(tmp_path / "folder", b"", force=True)
    assert (tmp_path / "dangling").is_symlink()


def test_in_a_folder_of_its_own_a_run_writes_again(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "latest").symlink_to("run")
    (run / "a.txt").write_bytes(b"old")
    own_folder(tmp_path / "latest")
    try:
        write_file(run / "a.txt", b"new")
        write_file(tmp_path / "latest" / "a.txt", b"newer")
        assert (run / "a.txt").read_bytes() == b"newer"
        (tmp_path / "beside.txt").write_bytes(USERS)
        with pytest.raises(OutputError):
            write_file(run / ".." / "beside.txt", b"")
    finally:
        GUARD.disown(tmp_path / "latest")
    with pytest.raises(OutputError):
        write_file(run / "a.txt", b"new")


def test_two_at_once_on_one_name_have_one_winner(tmp_path, monkeypatch):
    real, path = os.fsync, tmp_path / "a.txt"

    def other_is_quicker(descriptor):
        real(descriptor)
        path.write_bytes(USERS)

    monkeypatch.setattr(os, "fsync", other_is_quicker)
    with pytest.raises(OutputError, match="meanwhile"):
        write_file(path, b"mine")
    assert path.read_bytes() == USERS


def test_without_hard_links_too(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(95, "not supported")

    monkeypatch.setattr(os, "link", none)
    write_file(tmp_path / "a.txt", b"a")
    with pytest.raises(OutputError):
        write_file(tmp_path / "a.txt", b"b")
    assert (tmp_path / "a.txt").read_bytes() == b"a"


def test_a_folder_made_by_a_library_takes_nothing(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "config.json").write_bytes(USERS)
    (target / "notes.txt").write_bytes(USERS)

    def fill():
        with new_folder(target) as made:
            (made / "config.json").write_bytes(b"c")
            (made / "deep").mkdir()
            (made / "deep" / "weights").write_bytes(b"w")

    with pytest.raises(OutputError, match=r"config\.json"):
        fill()
    assert sorted(p.name for p in target.iterdir()) == ["config.json", "notes.txt"]
    (target / "config.json").unlink()
    fill()
    assert (target / "deep" / "weights").read_bytes() == b"w"
    assert (target / "notes.txt").read_bytes() == USERS
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_saving_again_what_this_process_made(tmp_path):
    path = box().save(tmp_path / "a.obj")
    box().save(path)
    assert made_here(path)
    path.write_bytes(USERS)
    with pytest.raises(OutputError):
        box().save(path)
    assert path.read_bytes() == USERS
    box().save(path, force=True)
    assert Asset.load(path).meshes


def test_export_of_a_mesh_keeps_what_lies_beside_it(tmp_path, capsys):
    box().save(tmp_path / "chair.glb")
    beside = [tmp_path / f"chair.{s}" for s in ("obj", "mtl", "stl", "png")]
    for victim in beside:
        victim.write_bytes(USERS)
        # Only this one is in the way, and it may be the last that would be written.
        assert main(["export", str(tmp_path / "chair.glb"), "--to", "ply", "obj", "stl"]) == 2
        assert victim.name in capsys.readouterr().err
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["chair.glb", victim.name])
        assert victim.read_bytes() == USERS
        victim.unlink()
    beside[1].write_bytes(USERS)
    call = ["export", str(tmp_path / "chair.glb"), "--to", "obj", "stl", "--force"]
    assert main(call) == 0
    assert beside[1].read_bytes().startswith(b"newmtl")


def test_mesh_convert_keeps_the_library_beside_it(tmp_path, capsys):
    box().save(tmp_path / "x.glb")
    (tmp_path / "y.mtl").write_bytes(USERS)
    call = ["mesh", "convert", str(tmp_path / "x.glb"), "--out", str(tmp_path / "y.obj")]
    assert main(call) == 2
    assert "y.mtl" in capsys.readouterr().err
    assert (tmp_path / "y.mtl").read_bytes() == USERS
    assert not (tmp_path / "y.obj").exists()
    assert main([*call, "--force"]) == 0


def test_export_of_a_run_may_be_made_again(tmp_path, capsys):
    run = tmp_path / "run"
    (run / "work").mkdir(parents=True)
    box().save(run / "asset.glb")
    call = ["export", str(run), "--to", "obj", "stl"]
    assert main(call) == 0
    assert main(call) == 0
    assert set(json.loads((run / "work" / "exported.json").read_text())) == {
        "asset.obj",
        "asset.mtl",
        "asset.png",
        "asset.stl",
    }
    (run / "asset.mtl").write_bytes(USERS)
    capsys.readouterr()
    assert main(call) == 2
    assert "asset.mtl" in capsys.readouterr().err
    assert (run / "asset.mtl").read_bytes() == USERS


def test_a_record_that_is_damaged_owns_nothing(tmp_path):
    (tmp_path / "r.json").write_text("[not json")
    (tmp_path / "a").write_bytes(b"a")
    made = MadeFiles(tmp_path / "r.json", tmp_path)
    assert not made.holds(tmp_path / "a")
    made.add([tmp_path / "a"])
    assert MadeFiles(tmp_path / "r.json", tmp_path).holds(tmp_path / "a")


def test_save_embeddings_is_refused_before_the_run(tmp_path, capsys):
    (tmp_path / "e.safetensors").write_bytes(USERS)
    out = tmp_path / "run"
    call = ["generate", "a red chair", "--out", str(out)]
    assert main([*call, "--save-embeddings", str(tmp_path / "e.safetensors")]) == 2
    assert "--force" in capsys.readouterr().err
    assert not out.exists()
    with pytest.raises(OutputError):
        EmbeddingStore().save(tmp_path / "e.safetensors")
    assert (tmp_path / "e.safetensors").read_bytes() == USERS


def test_a_training_is_refused_before_its_hours(tmp_path, capsys):
    (tmp_path / "depth").mkdir()
    (tmp_path / "depth" / "config.json").write_bytes(USERS)
    assert main(["train", "depth", "--out", str(tmp_path), "--steps", "1"]) == 2
    assert "there is a trained model already" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["depth"]
    assert (tmp_path / "depth" / "config.json").read_bytes() == USERS


@pytest.mark.parametrize("program", ["missing", "fails", "no program"])
def test_a_video_that_cannot_be_made_is_an_error_of_its_own(tmp_path, monkeypatch, program):
    fake = tmp_path / "ffmpeg"
    if program == "fails":
        fake.write_text("#!/bin/sh\nexit 3\n")
        fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    elif program == "no program":
        fake.write_bytes(b"\x7fELF of another processor")
        fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(fake))
    import imageio_ffmpeg

    clear = getattr(imageio_ffmpeg.get_ffmpeg_exe, "cache_clear", None)
    if clear is not None:
        clear()
    with pytest.raises(VideoError, match="the video could not be written") as caught:
        turntable(box(), tmp_path / "t.mp4", 3.0, 0.7, frames=2, size=32)
    assert "\n" not in caught.value.line()
    assert not (tmp_path / "t.mp4").exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("letter", ["a", "画"])
def test_long_names_are_written_and_told_apart(letter, tmp_path):
    """File systems count bytes, and what begins alike is written at the same time."""
    length = 240 // len(letter.encode())
    paths = [tmp_path / (letter * length + end) for end in ("1.png", "2.png")]
    write_files({path: str(path).encode() for path in paths})
    with new_file(paths[0], force=True) as first, new_file(paths[1], force=True) as second:
        assert first != second
        first.write_bytes(b"1")
        second.write_bytes(b"2")
    assert [path.read_bytes() for path in paths] == [b"1", b"2"]
    with new_folder(tmp_path / (letter * length)) as folder:
        (folder / "x").write_bytes(b"")
