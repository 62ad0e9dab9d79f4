"""COLLADA by pycollada (`pip install '.[formats]'`)."""

import numpy as np
import pytest

pytest.importorskip("collada")

from tests.small_files import DAE
from threestudio_like.engine.errors import InputError
from threestudio_like.meshes import Asset
from threestudio_like.meshes.io.images import encode_png
from threestudio_like.meshes.material import Sampler

PICTURE = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)


def saved(folder, text=DAE):
    (folder / "a.dae").write_text(text)
    return folder / "a.dae"


def test_a_plate_with_its_material_in_metres(tmp_path):
    (tmp_path / "tiles.png").write_bytes(encode_png(PICTURE))
    asset = Asset.load(saved(tmp_path))
    assert list(asset.meshes) == ["floor"]
    mesh = asset.mesh
    np.testing.assert_allclose(mesh.vertices.min(0), [0, 0.5, -1], atol=1e-6)
    np.testing.assert_allclose(mesh.vertices.max(0), [1, 0.5, 0], atol=1e-6)
    assert mesh.normals[:, 1] == pytest.approx(1)
    np.testing.assert_array_equal(mesh.texture, PICTURE)
    np.testing.assert_allclose(mesh.uv[:, 0], mesh.vertices[:, 0], atol=1e-6)
    material = mesh.material
    assert (material.name, material.alpha_mode) == ("tiles", "BLEND")
    assert material.colour[3] == pytest.approx(0.5)
    assert material.emission == pytest.approx((0, 0.5, 0))
    assert asset.notes == []


def test_a_missing_picture_is_a_note(tmp_path, capfd):
    asset = Asset.load(saved(tmp_path))
    assert asset.mesh.texture is None
    assert asset.notes == ['the picture "tiles.png" is missing']
    outside = DAE.replace("tiles.png", "file:///etc/tiles.png")
    assert Asset.load(saved(tmp_path, outside)).mesh.texture is None
    assert capfd.readouterr() == ("", "")


def test_instances_mirrors_and_bombs(tmp_path):
    mirrored = DAE.replace(
        "<translate>0 0 50</translate>", "<translate>0 0 50</translate><scale>-1 1 1</scale>"
    )
    mesh = Asset.load(saved(tmp_path, mirrored)).mesh
    assert mesh.with_normals().normals[:, 1] == pytest.approx(1)
    nodes = "".join(
        f'<node id="k{n}">' + f'<instance_node url="#k{n + 1}"/>' * 10 + "</node>" for n in range(9)
    )
    library = f'<library_nodes><node id="k9"/>{nodes}</library_nodes><library_visual_scenes>'
    text = DAE.replace("<library_visual_scenes>", library).replace(
        '<node id="n"', '<node id="z"><instance_node url="#k0"/></node><node id="n"'
    )
    with pytest.raises(InputError, match="without end"):
        Asset.load(saved(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<!DOCTYPE x [<!ENTITY a 'b'>]>" + DAE.partition("?>")[2], "document type"),
        ("PK\x03\x04", "cannot be read|archive"),
        (DAE.replace("0 0 1 1 2 2 3 3", "0 0 1 1 2 2 9 3"), "no triangles"),
        (DAE.replace('<scene><instance_visual_scene url="#w"/></scene>', ""), "no scene"),
        (DAE.replace('meter="0.01"', 'meter="-1"'), "unit"),
    ],
)
def test_what_is_refused(tmp_path, text, says):
    with pytest.raises(InputError, match=says):
        Asset.load(saved(tmp_path, text))


def with_map(where, opaque=""):
    """The plate with a second picture, "more.png", as one of the colours of its effect."""
    more = '<image id="i2"><init_from>more.png</init_from></image></library_images>'
    params = """<newparam sid="s2"><surface type="2D"><init_from>i2</init_from></surface></newparam>
<newparam sid="p2"><sampler2D><source>s2</source></sampler2D></newparam><technique sid="t">"""
    row = '<texture texture="p2" texcoord="UV"/>'
    text = DAE.replace("</library_images>", more).replace('<technique sid="t">', params)
    if where == "bump":
        extra = f'<extra><technique profile="FCOLLADA"><bump>{row}</bump></technique></extra>'
        return text.replace("</phong></technique>", f"</phong>{extra}</technique>")
    place = "<transparency><float>0.5</float></transparency>"
    return text.replace(place, f"<{where}{opaque}>{row}</{where}>{place if opaque else ''}")


@pytest.mark.parametrize(
    ("where", "kind"), [("ambient", "ambient"), ("specular", "specular"), ("bump", "bumpmap")]
)
def test_maps_that_are_not_read_are_told(tmp_path, where, kind):
    for name in ("tiles", "more"):
        (tmp_path / f"{name}.png").write_bytes(encode_png(PICTURE))
    asset = Asset.load(saved(tmp_path, with_map(where)))
    assert asset.notes == [f'maps of "tiles" that are left out: {kind}']


@pytest.mark.parametrize("size", [4, 8, 16])
@pytest.mark.parametrize(
    ("mode", "expected", "factor"), [("A_ONE", 51, 0.5), ("RGB_ZERO", 255 - 50, 1)]
)
def test_opacity_lies_in_a_picture_of_its_own(tmp_path, size, mode, expected, factor):
    more = np.full((size, size, 4), (100, 100, 100, 51), np.uint8)
    (tmp_path / "more.png").write_bytes(encode_png(more))
    (tmp_path / "tiles.png").write_bytes(encode_png(PICTURE))
    text = with_map("transparent", f' opaque="{mode}"')
    asset = Asset.load(saved(tmp_path, text))
    assert np.unique(asset.mesh.texture[..., 3]).tolist() == [expected]
    assert asset.mesh.texture.shape[:2] == (max(8, size),) * 2
    if size <= 8:
        np.testing.assert_array_equal(asset.mesh.texture[..., :3], PICTURE)
    material = asset.mesh.material
    assert (material.alpha_mode, material.colour[3]) == ("BLEND", factor)
    assert asset.notes == []


@pytest.mark.parametrize("number", [0, 1, None])
def test_a_picture_lies_on_the_coordinates_that_its_material_binds(tmp_path, number):
    (tmp_path / "tiles.png").write_bytes(encode_png(PICTURE))
    begin = DAE.index('<source id="b">')
    second = DAE[begin : DAE.index("</source>", begin)].replace("bb", "b2b").replace('"b"', '"b2"')
    second = second.replace("0 0 1 0 1 1 0 1", "0 0 .5 0 .5 .5 0 .5") + "</source>"
    given = '<input semantic="TEXCOORD" source="#b2" offset="1" set="1"/><vcount>'
    bound = '<bind_vertex_input semantic="UV" input_semantic="TEXCOORD" '
    bound = f'target="#m">{bound}input_set="{number}"/></instance_material>'
    text = DAE.replace('<vertices id="v">', second + '<vertices id="v">')
    text = text.replace("<vcount>", given)
    text = text if number is None else text.replace('target="#m"/>', bound)
    uv = Asset.load(saved(tmp_path, text)).mesh.uv
    assert uv.max(0).tolist() == ([0.5, 0.5] if number else [1, 1])


@pytest.mark.parametrize(
    ("said", "expected"), [("WRAP", "repeat"), ("CLAMP", "clamp"), ("MIRROR", "mirror")]
)
def test_pictures_go_on_as_their_sampler_says(tmp_path, said, expected):
    (tmp_path / "tiles.png").write_bytes(encode_png(PICTURE))
    rows = f"<source>s</source><wrap_s>{said}</wrap_s><wrap_t>CLAMP</wrap_t>"
    rows += "<magfilter>NEAREST</magfilter>"
    material = Asset.load(saved(tmp_path, DAE.replace("<source>s</source>", rows))).mesh.material
    assert material.sampler == Sampler(expected, "clamp", nearest=True)


def test_lines_and_polygons_with_holes_are_told(tmp_path):
    (tmp_path / "tiles.png").write_bytes(encode_png(PICTURE))
    inputs = '<input semantic="VERTEX" source="#v" offset="0"/>'
    lines = f'<lines count="2" material="x">{inputs}<p>0 1 1 2</p></lines>'
    hole = "<ph><p>0 1 2 3</p><h>1 2 3</h></ph>"
    holes = f'<polygons count="2" material="x">{inputs}<p>0 1 2</p>{hole}</polygons>'
    asset = Asset.load(saved(tmp_path, DAE.replace("</mesh>", f"{lines}{holes}</mesh>")))
    assert [len(m.faces) for m in asset.meshes.values()] == [2, 1]
    assert asset.notes == ["lines are left out: 2", "polygons with holes are left out: 1"]


def test_a_normal_without_a_direction_is_made_anew_alone(tmp_path):
    rows = "0 0.6 0.8 0 0.6 0.8 0 0 0 0 0.6 0.8"
    source = f"""<source id="c"><float_array id="cc" count="12">{rows}</float_array>
<technique_common><accessor source="#cc" count="4" stride="3"><param name="X" type="float"/>
<param name="Y" type="float"/><param name="Z" type="float"/></accessor></technique_common></source>
<vertices id="v">"""
    given = '<input semantic="NORMAL" source="#c" offset="0"/><vcount>'
    text = DAE.replace('<vertices id="v">', source).replace("<vcount>", given)
    asset = Asset.load(saved(tmp_path, text))
    expected = np.float32([(0, 0.8, -0.6), (0, 0.8, -0.6), (0, 1, 0), (0, 0.8, -0.6)])
    order = np.lexsort(asset.mesh.uv.T)[[0, 1, 3, 2]]
    np.testing.assert_allclose(asset.mesh.normals[order], expected, atol=1e-6)
    assert asset.notes[-1] == 'normals of "floor" without a direction are made anew: 1'


def test_byte_order_marks(tmp_path):
    plain = Asset.load(saved(tmp_path))
    for data in (DAE.encode("utf-8-sig"), DAE.replace("\n", "\r\n").encode("utf-8-sig")):
        (tmp_path / "a.dae").write_bytes(data)
        again = Asset.load(tmp_path / "a.dae")
        np.testing.assert_array_equal(again.mesh.vertices, plain.mesh.vertices)
        assert again.notes == plain.notes
    (tmp_path / "a.dae").write_bytes(DAE.encode("utf-16"))
    with pytest.raises(InputError, match=r"unusual encoding.*Save it again as UTF-8"):
        Asset.load(tmp_path / "a.dae")
