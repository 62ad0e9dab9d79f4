"""3MF: parts, colours, units, components, pictures; archives that explode."""

import io
import zipfile

import numpy as np
import pytest
import trimesh

from tests.bad_files import good_asset
from tests.test_foreign_formats import PICTURE, cube, written
from threestudio_like.engine.errors import InputError
from threestudio_like.meshes import Asset
from threestudio_like.meshes.io.images import encode_png
from threestudio_like.meshes.io.sources.archive import pack
from threestudio_like.meshes.mesh import Material

CORE = 'xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02"'
MATERIALS = 'xmlns:m="http://schemas.microsoft.com/3dmanufacturing/material/2015/02"'
TETRAHEDRON = (
    '<mesh><vertices><vertex x="0" y="0" z="0"/><vertex x="10" y="0" z="0"/>'
    '<vertex x="0" y="10" z="0"/><vertex x="0" y="0" z="10"/></vertices><triangles>'
    '<triangle v1="0" v2="2" v3="1"/><triangle v1="0" v2="1" v3="3"/>'
    '<triangle v1="0" v2="3" v3="2"/><triangle v1="1" v2="2" v3="3"/></triangles></mesh>'
)


def threemf(resources, build, unit="millimeter", **more):
    model = (
        f'<?xml version="1.0"?><model unit="{unit}" {CORE} {MATERIALS}><resources>{resources}'
        f"</resources><build>{build}</build></model>"
    )
    return pack({"3D/3dmodel.model": model.encode(), **more})


def test_3mf_keeps_parts_sizes_and_colours(tmp_path):
    asset = good_asset()
    asset.meshes["plain"] = cube(material=Material("red paint", (1.0, 0.0, 0.0, 0.5)))
    path = asset.save(tmp_path / "a.3mf")
    again = Asset.load(path)
    assert list(again.meshes) == ["pyramid", "other", "plain"]
    for name, mesh in asset.meshes.items():
        np.testing.assert_allclose(
            again.meshes[name].vertices.min(0), mesh.vertices.min(0), atol=1e-6
        )
        assert again.meshes[name].area == pytest.approx(mesh.area, rel=1e-5)
    two = again.meshes["other"]
    np.testing.assert_allclose(
        np.unique(two.colours, axis=0),
        np.unique(asset.meshes["other"].colours, axis=0),
        atol=1 / 500,
    )
    paint = again.meshes["plain"].material
    assert (paint.name, paint.alpha_mode) == ("red paint", "BLEND")
    assert paint.colour == pytest.approx((1, 0, 0, 0.5), abs=1 / 500)
    # Printers want closed surfaces: neighbours share their vertices.
    with zipfile.ZipFile(path) as file:
        model = file.read("3D/3dmodel.model").decode()
    assert model.count("<vertex ") == 5 + 5 + 8
    assert 'unit="millimeter"' in model
    assert asset.save(tmp_path / "b.3mf").read_bytes() == path.read_bytes()


def test_another_reader_reads_the_3mf(tmp_path):
    pytest.importorskip("lxml")
    pytest.importorskip("networkx")
    path = good_asset().save(tmp_path / "a.3mf")
    scene = trimesh.load(path)
    assert scene.units == "millimeter"
    assert set(scene.geometry) == {"pyramid", "other"}
    np.testing.assert_allclose(scene.bounds, [[0, -3000, 0], [3000, 0, 3000]])
    assert all(g.is_winding_consistent for g in scene.geometry.values())


def test_3mf_of_components_units_and_pictures(tmp_path):
    uv = "".join(f'<m:tex2coord u="{u}" v="{v}"/>' for u, v in ((0, 0), (1, 0), (0, 1)))
    resources = (
        '<m:texture2d id="1" path="/3D/t.png" contenttype="image/png" tilestyleu="mirror"/>'
        f'<m:texture2dgroup id="2" texid="1">{uv}</m:texture2dgroup>'
        '<object id="3" name="tip">'
        + TETRAHEDRON.replace('v3="1"/>', 'v3="1" pid="2" p1="0" p2="1" p3="2"/>')
        + '</object><object id="4" name="pair"><components><component objectid="3"/>'
        '<component objectid="3" transform="1 0 0 0 1 0 0 0 1 100 0 0"/></components></object>'
    )
    item = '<item objectid="4" transform="2 0 0 0 2 0 0 0 2 0 0 1"/>'
    path = written(
        tmp_path, "a.3mf", threemf(resources, item, "inch", **{"3D/t.png": encode_png(PICTURE)})
    )
    asset = Asset.load(path)
    assert len(asset.meshes) == 4
    low = np.min([m.vertices.min(0) for m in asset.meshes.values()], 0)
    high = np.max([m.vertices.max(0) for m in asset.meshes.values()], 0)
    np.testing.assert_allclose(low, np.array([0, 1, -20]) * 0.0254, atol=1e-6)
    np.testing.assert_allclose(high, np.array([220, 21, 0]) * 0.0254, atol=1e-5)
    mapped = [m for m in asset.meshes.values() if m.texture is not None]
    assert len(mapped) == 2
    assert mapped[0].material.sampler.wrap_u == "mirror"
    assert {m.part for m in asset.meshes.values()} == {"tip"}


def bomb(kind):
    if kind == "entities":
        model = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><model>&b;</model>'
        return pack({"3D/3dmodel.model": model.encode()})
    if kind == "zeros":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
            out.writestr("3D/3dmodel.model", b" " * (300 << 20))
        return buffer.getvalue()
    if kind == "cycle":
        parts = '<object id="1"><components><component objectid="1"/></components></object>'
        return threemf(parts, '<item objectid="1"/>')
    shapes = "".join(
        f'<object id="{n}"><components>'
        + f'<component objectid="{n + 1}"/>' * 10
        + "</components></object>"
        for n in range(9)
    )
    return threemf(shapes + f'<object id="9">{TETRAHEDRON}</object>', '<item objectid="0"/>')


@pytest.mark.parametrize("kind", ["entities", "zeros", "cycle", "a billion instances"])
def test_archives_that_explode_are_refused(tmp_path, kind):
    with pytest.raises(InputError):
        Asset.load(written(tmp_path, "a.3mf", bomb(kind)))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"PK no", "damaged archive"),
        (pack({"x": b""}), "without a 3MF model"),
        (threemf("", '<item objectid="7"/>'), "not there"),
        (threemf(f'<object id="1">{TETRAHEDRON}</object>', '<item objectid="1"/>', "mile"), "unit"),
        (
            threemf(
                f'<object id="1">{TETRAHEDRON}</object>'.replace('v1="1"', 'v1="9"'),
                '<item objectid="1"/>',
            ),
            "a face names vertex 9",
        ),
        (
            threemf(
                '<basematerials id="2"><base name="a" displaycolor="#FF0000"/></basematerials>'
                f'<object id="1" pid="2" pindex="5">{TETRAHEDRON}</object>',
                '<item objectid="1"/>',
            ),
            "names a colour",
        ),
        (threemf("", ""), "no triangles"),
    ],
)
def test_3mf_that_is_refused(tmp_path, data, says):
    with pytest.raises(InputError, match=says):
        Asset.load(written(tmp_path, "a.3mf", data))
