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


def threemf(resources, build, unit="millimeter", says="", metadata="", **more):
    model = (
        f'<?xml version="1.0"?><model unit="{unit}" {CORE} {MATERIALS} {says}>{metadata}'
        f"<resources>{resources}</resources><build>{build}</build></model>"
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


def extension(prefix, name, date="2020/01", required=True):
    """The attributes of a model that knows an extension."""
    address = f'xmlns:{prefix}="http://schemas.3mf.io/3dmanufacturing/{name}/{date}"'
    return address + f' requiredextensions="{prefix}"' * required


SOLID = f'<object id="1" name="tip">{TETRAHEDRON}</object>'
BEAMS = '<b:beamlattice radius="1"><b:beams><b:beam v1="0" v2="1"/></b:beams></b:beamlattice>'
DISPLACED = TETRAHEDRON.replace("<", "<d:").replace("<d:/", "</d:").replace("d:mesh", "d:shape")
UNREAD = {
    "beams beside a mesh": (SOLID.replace("</mesh>", BEAMS + "</mesh>"), "b", "beamlattice", False),
    "a shape of others": (
        f'{SOLID}<object id="2" name="cut"><bo:booleanshape objectid="1"/></object>',
        *("bo", "booleanoperations", True),
    ),
    "vertices that are not the core's": (
        f'{SOLID}<object id="2" name="cut">{DISPLACED}</object>',
        *("d", "displacement", True),
    ),
    "a resource": (f'<s:slicestack id="9"/>{SOLID}', "s", "slice", False),
    "nothing": (SOLID, "x", "secret", False),
}


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("kind", list(UNREAD))
def test_extensions_that_are_not_read_are_told(tmp_path, kind, required):
    resources, prefix, name, gone = UNREAD[kind]
    items = '<item objectid="1"/>' + '<item objectid="2"/>' * gone
    says = extension(prefix, name, required=required)
    asset = Asset.load(written(tmp_path, "a.3mf", threemf(resources, items, says=says)))
    assert list(asset.meshes) == ["tip"]
    assert len(asset.mesh.faces) == 4
    told = [note for note in asset.notes if note.startswith("it requires 3MF extensions")]
    assert len(told) == required
    assert all(note.endswith(f": {name}") for note in told)
    left = [note for note in asset.notes if note.startswith("elements that are left out: ")]
    assert len(left) == (kind != "nothing")
    assert all(name in note for note in left)
    lost = [note for note in asset.notes if note.startswith('the object "cut" is left out')]
    assert len(lost) == gone


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize(
    ("body", "prefix", "name"),
    [
        ('<bo:booleanshape objectid="1"/>', "bo", "booleanoperations"),
        (DISPLACED, "d", "displacement"),
        (f"<mesh><vertices/><triangles/>{BEAMS}</mesh>", "b", "beamlattice"),
    ],
)
def test_what_is_nothing_without_an_extension_is_refused(tmp_path, body, prefix, name, required):
    data = threemf(
        f'<object id="1">{body}</object>',
        '<item objectid="1"/>',
        says=extension(prefix, name, required=required),
    )
    with pytest.raises(InputError, match=rf"extensions that are not read: .*{name}"):
        Asset.load(written(tmp_path, "a.3mf", data))


@pytest.mark.parametrize("required", ["", 'requiredextensions="m"', 'requiredextensions="m p"'])
def test_extensions_that_are_read_are_not_told(tmp_path, required):
    says = extension("p", "production", "2015/06", required=False) + f" {required}"
    data = threemf(SOLID, '<item objectid="1" p:UUID="1"/>', says=says)
    assert Asset.load(written(tmp_path, "a.3mf", data)).notes == []


def test_metadata_that_is_left_out_is_told(tmp_path):
    names = ("Application", "CreationDate", "Title", "Copyright", "Title")
    metadata = "".join(f'<metadata name="{name}">x</metadata>' for name in names)
    data = threemf(SOLID, '<item objectid="1"/>', metadata=metadata)
    notes = Asset.load(written(tmp_path, "a.3mf", data)).notes
    assert notes == ["metadata that is left out: Title, Copyright"]


def shining(group, pid, rows, kind="pbmetallic"):
    """A tetrahedron with a group of properties and the list that says how they shine."""
    listed = "".join(f"<m:{kind} {row}/>" for row in rows)
    return threemf(
        f'<m:{kind}displayproperties id="9">{listed}</m:{kind}displayproperties>{group}'
        f'<object id="1" name="tip" {pid}>{TETRAHEDRON}</object>',
        '<item objectid="1"/>',
    )


BASES = (
    '<basematerials id="5" displaypropertiesid="9"><base name="gold" displaycolor="#FFD700"/>'
    '<base name="chalk" displaycolor="#EEEEEE"/></basematerials>'
)
COLOURS = (
    '<m:colorgroup id="5" displaypropertiesid="9"><m:color color="#FF0000"/>'
    '<m:color color="#00FF00"/></m:colorgroup>'
)
GOLD = 'name="gold" metallicness="1" roughness="0.1"'


@pytest.mark.parametrize("group", [BASES, COLOURS], ids=["base materials", "colours"])
@pytest.mark.parametrize(
    ("rows", "index", "expected"),
    [
        ((GOLD, 'metallicness="0.25" roughness="0.75"'), 0, (1, 0.1)),
        ((GOLD, 'metallicness="0.25" roughness="0.75"'), 1, (0.25, 0.75)),
        ((GOLD, 'name="without"'), 1, (0, 1)),
        ((GOLD, 'metallicness="7" roughness="-1"'), 1, (1, 0)),
    ],
)
def test_metallic_display_properties_are_read(tmp_path, group, rows, index, expected):
    data = shining(group, f'pid="5" pindex="{index}"', rows)
    asset = Asset.load(written(tmp_path, "a.3mf", data))
    material = asset.mesh.material
    assert (material.metallic, material.roughness) == expected
    assert material.surface_given
    assert asset.notes == []
    again = Asset.load(asset.save(tmp_path / "a.glb")).mesh.material
    assert (again.metallic, again.roughness) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (shining(BASES, 'pid="5" pindex="0"', ['glossiness="1"'], "pbspecular"), "of a kind"),
        (shining(BASES, 'pid="5" pindex="1"', [GOLD]), "that a part does not have"),
    ],
)
def test_display_properties_that_are_not_read_are_told(tmp_path, data, note):
    asset = Asset.load(written(tmp_path, "a.3mf", data))
    assert not asset.mesh.material.surface_given
    assert len(asset.notes) == 1
    assert asset.notes[0].startswith(f"display properties {note}")


def test_colours_that_shine_in_different_ways_are_told(tmp_path):
    data = shining(COLOURS, 'pid="5" pindex="0"', [GOLD, 'roughness="1"'])
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        model = file.read("3D/3dmodel.model")
    mixed = model.replace(b'v3="1"/>', b'v3="1" pid="5" p1="0" p2="1" p3="0"/>')
    asset = Asset.load(written(tmp_path, "a.3mf", pack({"3D/3dmodel.model": mixed})))
    assert asset.mesh.colours is not None
    assert asset.notes == ["display properties that differ within a part are left out"]


def test_a_mark_before_a_model_is_skipped(tmp_path):
    data = threemf(SOLID, '<item objectid="1"/>')
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        model = file.read("3D/3dmodel.model")
    marked = pack({"3D/3dmodel.model": b"\xef\xbb\xbf" + model})
    assert len(Asset.load(written(tmp_path, "a.3mf", marked)).mesh.faces) == 4
