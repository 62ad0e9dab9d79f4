"""Commands tell what a file that they write could not keep."""

import json

from threestudio_like.cli import main

from .gltf_files import featured


def test_export_tells_what_a_format_cannot_keep(tmp_path, capsys):
    (tmp_path / "cart.glb").write_bytes(featured("everything"))
    call = ["export", str(tmp_path / "cart.glb"), "--to", "gltf", "obj", "stl", "--json"]
    assert main(call) == 0
    shown = capsys.readouterr()
    lines = shown.err.strip().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("Not kept in cart.obj:")
    for kind in ("skin", "animation", "morph target", "camera", "light", "tangents"):
        assert kind in lines[0]
    assert lines[1].startswith("Not kept in cart.stl:")
    assert "4 parts" in lines[1]
    rows = [json.loads(line) for line in shown.out.splitlines()]
    assert ["not kept" in row for row in rows] == [False, True, True]


def test_parts_with_and_without_opacity_are_written_as_one(tmp_path):
    (tmp_path / "cart.glb").write_bytes(featured("vertex colours with alpha"))
    call = ["export", str(tmp_path / "cart.glb"), "--to", "stl", "ply", "3mf", "obj", "--verify"]
    assert main(call) == 0
