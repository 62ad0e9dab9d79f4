"""USD from other programs: what may stand in its meshes and materials besides the usual."""

import numpy as np
import pytest

pytest.importorskip("pxr")

from pxr import Sdf, Usd, UsdGeom, UsdShade

from threestudio_like.meshes import Asset
from threestudio_like.meshes.io.images import encode_png
from threestudio_like.meshes.io.usd.writing import package

TYPES = Sdf.ValueTypeNames
KINDS = {"diffuseColor": TYPES.Color3f, "useSpecularWorkflow": TYPES.Int}


def plate(path):
    """A stage with one plate of two triangles, at /p."""
    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageUpAxis(stage, "Y")
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    mesh = UsdGeom.Mesh.Define(stage, "/p")
    mesh.CreatePointsAttr([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)])
    mesh.CreateFaceVertexCountsAttr([3, 3])
    mesh.CreateFaceVertexIndicesAttr([0, 1, 2, 0, 2, 3])
    return stage, mesh


@pytest.mark.parametrize("bad", [(0, 0, 0), (float("nan"), 0, 1)])
def test_a_normal_without_a_direction_is_made_anew_alone(tmp_path, bad):
    stage, mesh = plate(tmp_path / "a.usda")
    mesh.CreateNormalsAttr([(0.6, 0, 0.8), (0.6, 0, 0.8), bad, (0.6, 0, 0.8)])
    stage.Save()
    asset = Asset.load(tmp_path / "a.usda")
    found = {tuple(np.round(n, 4)) for n in asset.mesh.normals.tolist()}
    assert found == {(0.6, 0.0, 0.8), (0.0, 0.0, 1.0)}
    # The corner is one of both faces.
    assert asset.notes[0].startswith('normals of "p" without a direction are made anew: ')


def dressed(folder, values=None, maps=None):
    """An asset of the plate with a preview surface of values and of maps, each a picture's name,
    the channel, and scale and bias."""
    stage, mesh = plate(folder / "a.usda")
    st = UsdGeom.PrimvarsAPI(mesh).CreatePrimvar("st", TYPES.TexCoord2fArray, "vertex")
    st.Set([(0, 0), (1, 0), (1, 1), (0, 1)])
    material = UsdShade.Material.Define(stage, "/stone")
    surface = UsdShade.Shader.Define(stage, "/stone/surface")
    surface.CreateIdAttr("UsdPreviewSurface")
    material.CreateSurfaceOutput().ConnectToSource(surface.ConnectableAPI(), "surface")
    for name, value in (values or {}).items():
        surface.CreateInput(name, KINDS.get(name, TYPES.Float)).Set(value)
    for name, (file, channel, *range_) in (maps or {}).items():
        node = UsdShade.Shader.Define(stage, f"/stone/{name}")
        node.CreateIdAttr("UsdUVTexture")
        node.CreateInput("file", TYPES.Asset).Set(f"./{file}.png")
        for key, number in zip(("scale", "bias"), range_):
            node.CreateInput(key, TYPES.Float4).Set((number,) * 4)
        node.CreateOutput(channel, TYPES.Float)
        given = surface.CreateInput(name, KINDS.get(name, TYPES.Float))
        given.ConnectToSource(node.ConnectableAPI(), channel)
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)
    stage.Save()
    return Asset.load(folder / "a.usda")


@pytest.fixture
def pictures(tmp_path):
    """Pictures of one colour each, of which "small" is smaller and "clear" half transparent."""
    for name, colour, size in (
        ("grey", (100, 150, 200), 8),
        ("small", (20, 40, 60), 4),
        ("clear", (1, 2, 3, 128), 8),
    ):
        pixels = np.full((size, size, len(colour)), colour, np.uint8)
        (tmp_path / f"{name}.png").write_bytes(encode_png(pixels))
    return tmp_path


@pytest.mark.parametrize(
    ("rough", "metal", "expected", "numbers"),
    [
        (("grey", "g"), ("grey", "b"), (100, 150, 200), (1, 1)),
        (("grey", "r"), ("small", "r"), (255, 100, 20), (1, 1)),
        (("small", "g", 0.5), ("grey", "r"), (255, 40, 100), (0.5, 1)),
        (("grey", "r", -1.0, 1.0), None, (255, 155, 255), (1, 0)),
        (("grey", "r", 2.0), None, (255, 200, 255), (1, 0)),
        (None, ("grey", "a"), (255, 255, 255), (0.5, 1)),
        (None, ("clear", "a"), (255, 255, 128), (0.5, 1)),
    ],
)
def test_roughness_and_metal_in_pictures_of_any_size_and_range(
    pictures, rough, metal, expected, numbers
):
    maps = {"roughness": rough, "metallic": metal}
    asset = dressed(pictures, maps={k: v for k, v in maps.items() if v is not None})
    material = asset.mesh.material
    assert material.metallic_roughness.shape == (8, 8, 3)
    assert np.unique(material.metallic_roughness.reshape(-1, 3), axis=0).tolist() == [[*expected]]
    assert (material.roughness, material.metallic) == numbers
    assert asset.notes == []


@pytest.mark.parametrize(
    ("colour", "opacity", "expected", "factor"),
    [
        (("grey", "rgb"), ("small", "r"), (100, 150, 200, 20), 1),
        (("small", "rgb"), ("grey", "g", 0.5), (20, 40, 60, 150), 0.5),
        (("grey", "rgb"), ("grey", "r", -1.0, 1.0), (100, 150, 200, 155), 1),
        (("clear", "rgb"), ("clear", "a"), (1, 2, 3, 128), 1),
        (("clear", "rgb"), ("grey", "b"), (1, 2, 3, 200), 1),
        (("clear", "rgb"), 0.5, (1, 2, 3), 0.5),
        ((1.0, 0.0, 0.0), ("small", "b"), (255, 255, 255, 60), 1),
    ],
)
def test_opacity_lies_in_any_picture(pictures, colour, opacity, expected, factor):
    given = {"diffuseColor": colour, "opacity": opacity}
    maps = {k: v for k, v in given.items() if isinstance(v, tuple) and isinstance(v[0], str)}
    asset = dressed(pictures, {k: v for k, v in given.items() if k not in maps}, maps)
    mesh = asset.mesh
    assert np.unique(mesh.texture.reshape(-1, len(expected)), axis=0).tolist() == [[*expected]]
    white = float("diffuseColor" in maps)
    assert mesh.material.colour == pytest.approx((1, white, white, factor), abs=1e-6)
    assert mesh.material.alpha_mode == "BLEND"
    assert asset.notes == []


@pytest.mark.parametrize(
    ("values", "maps", "said"),
    [
        ({"clearcoat": 0.0, "clearcoatRoughness": 0.2, "ior": 1.45, "opacityMode": 0}, {}, []),
        ({"clearcoat": 1.0}, {}, ['inputs of "stone" that are left out: clearcoat']),
        (
            {"useSpecularWorkflow": 1, "ior": 1.3},
            {},
            ['inputs of "stone" that are left out: ior, useSpecularWorkflow'],
        ),
        (
            {},
            {"displacement": ("grey", "r")},
            ['inputs of "stone" that are left out: displacement'],
        ),
        (
            {},
            {"diffuseColor": ("grey", "rgb", 1.0, 0.5)},
            ['a bias of maps of "stone" is left out: diffuseColor'],
        ),
    ],
)
def test_inputs_that_are_not_read_are_told(pictures, values, maps, said):
    assert dressed(pictures, values, maps).notes == said


@pytest.mark.parametrize("kind", ["ND_standard_surface_surfaceshader", "OmniPBR.mdl", ""])
def test_materials_of_other_kinds_are_told(tmp_path, kind):
    stage, mesh = plate(tmp_path / "a.usda")
    material = UsdShade.Material.Define(stage, "/stone")
    if kind:
        shader = UsdShade.Shader.Define(stage, "/stone/s")
        if kind.endswith(".mdl"):
            shader.SetSourceAsset(Sdf.AssetPath(kind), "mdl")
        else:
            shader.CreateIdAttr(kind)
        output = material.CreateSurfaceOutput(kind.rpartition(".")[2] if "." in kind else "mtlx")
        output.ConnectToSource(shader.ConnectableAPI(), "out")
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)
    stage.Save()
    said = f'the look of "stone" is left out: it is no preview surface ({kind})'
    assert Asset.load(tmp_path / "a.usda").notes == ([said] if kind else [])


@pytest.mark.parametrize("grouped", [False, True])
def test_holes_are_no_faces(tmp_path, grouped):
    stage, mesh = plate(tmp_path / "a.usda")
    mesh.CreateHoleIndicesAttr([1])
    if grouped:
        for n in range(2):
            material = UsdShade.Material.Define(stage, f"/m{n}")
            binding = UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim())
            subset = binding.CreateMaterialBindSubset(f"s{n}", [n])
            UsdShade.MaterialBindingAPI.Apply(subset.GetPrim()).Bind(material)
    stage.Save()
    asset = Asset.load(tmp_path / "a.usda")
    assert [(len(m.faces), len(m.vertices)) for m in asset.meshes.values()] == [(1, 3)]
    assert asset.mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0]]


@pytest.mark.parametrize("marks", [(), ("a.usda",), ("part.usd",), ("a.usda", "part.usd")])
def test_byte_order_marks_within_a_package(pictures, marks):
    """Of the first text and of one that it names; the pictures are found all the same."""
    dressed(pictures, maps={"diffuseColor": ("grey", "rgb")})
    head = '#usda 1.0\n(\n    upAxis = "Y"\n    metersPerUnit = 1\n'
    texts = {
        "a.usda": f"{head}    subLayers = [@./part.usd@]\n)\n",
        "part.usd": (pictures / "a.usda").read_text(),
    }
    mark = b"\xef\xbb\xbf"
    files = {name: mark * (name in marks) + text.encode() for name, text in texts.items()}
    files["grey.png"] = (pictures / "grey.png").read_bytes()
    (pictures / "in").mkdir()
    (pictures / "in" / "a.usdz").write_bytes(package(files))
    asset = Asset.load(pictures / "in" / "a.usdz")
    assert asset.notes == []
    assert np.unique(asset.mesh.texture.reshape(-1, 3), axis=0).tolist() == [[100, 150, 200]]
