"""USD by OpenUSD's library (`pip install '.[usd]'`)."""

import zipfile

import numpy as np
import pytest

pytest.importorskip("pxr")

from pxr import Gf, Sdf, Usd, UsdGeom, UsdShade

from tests.bad_files import good_asset, mutate
from threestudio_like.engine.errors import InputError
from threestudio_like.meshes import Asset, Mesh
from threestudio_like.meshes.io.files import losses
from threestudio_like.meshes.io.images import encode_png
from threestudio_like.meshes.mesh import EncodedImage, Material, Node, Sampler
from threestudio_like.meshes.transform import Transform

KINDS = ["usda", "usdc", "usd", "usdz"]


def picture(seed, channels=3):
    return np.random.default_rng(seed).integers(0, 255, (8, 8, channels)).astype(np.uint8)


def rich():
    """A plate with every map and one with glowing colours and alpha."""
    points = np.float32([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    faces = np.int32([[0, 1, 2], [0, 2, 3]])
    base = picture(0, 4)
    material = Material(
        "wet stone",
        (0.5, 0.75, 1.0, 0.5),
        roughness=0.5,
        metallic=0.25,
        metallic_roughness=picture(1),
        alpha_mode="BLEND",
        double_sided=True,
        normal_map=picture(2),
        occlusion_map=picture(3),
        emission=(2.0, 1.0, 0.0),
        emissive_map=picture(4),
        sampler=Sampler("clamp", "mirror"),
        images=(EncodedImage(base, encode_png(base), "image/png", "base.png"),),
    )
    one = Mesh(points, faces, points[:, :2].copy(), base, material=material).with_normals()
    tint = np.linspace(0, 1, 16).reshape(4, 4).astype(np.float32)
    two = Mesh(points + 2, faces, colours=tint).with_normals()
    cut = Material("leaf", (0.0, 0.5, 0.0, 1.0), alpha_mode="MASK", alpha_cutoff=0.25)
    three = Mesh(points + 4, faces, material=cut).with_normals()
    return Asset({"plate": one, "红": two, "leaf 1": three})


@pytest.mark.parametrize("kind", KINDS)
def test_everything_comes_back(tmp_path, kind):
    asset = rich()
    path = asset.save(tmp_path / f"a.{kind}")
    again = Asset.load(path)
    assert list(again.meshes) == list(asset.meshes)
    assert again.notes == []
    for name, mesh in asset.meshes.items():
        other = again.meshes[name]
        np.testing.assert_array_equal(other.vertices, mesh.vertices)
        np.testing.assert_array_equal(other.faces, mesh.faces)
        np.testing.assert_allclose(other.normals, mesh.normals, atol=1e-6)
        for field in ("uv", "texture", "colours"):
            one, two = getattr(mesh, field), getattr(other, field)
            assert (one is None) == (two is None), field
            if one is not None:
                np.testing.assert_allclose(two, one, atol=1e-5)
        if mesh.material is not None:
            for field, value in vars(mesh.material).items():
                found = getattr(other.material, field)
                if isinstance(value, np.ndarray):
                    np.testing.assert_array_equal(found, value)
                elif field == "images":
                    continue
                elif isinstance(value, (float, tuple)):
                    assert found == pytest.approx(value, abs=1e-5), field
                elif field != "roughness":
                    assert found == value, field
    assert losses(asset, path) == []
    source = again.meshes["plate"]
    assert source.material.encoded(source.texture).data == encode_png(picture(0, 4))


def test_the_same_asset_gives_the_same_bytes(tmp_path):
    for kind in KINDS:
        one = rich().save(tmp_path / f"a.{kind}").read_bytes()
        (tmp_path / "b").mkdir(exist_ok=True)
        assert rich().save(tmp_path / "b" / f"a.{kind}").read_bytes() == one


def test_a_package_is_stored_and_aligned(tmp_path):
    path = rich().save(tmp_path / "a.usdz")
    data = path.read_bytes()
    with zipfile.ZipFile(path) as file:
        rows = file.infolist()
        assert rows[0].filename.endswith(".usdc")
        assert file.testzip() is None
    for row in rows:
        assert row.compress_type == zipfile.ZIP_STORED
        begin = row.header_offset
        name, extra = (int.from_bytes(data[begin + k : begin + k + 2], "little") for k in (26, 28))
        assert (begin + 30 + name + extra) % 64 == 0
    # The library reads it from where it is, pictures too.
    stage = Usd.Stage.Open(str(path))
    files = [
        UsdShade.Shader(p).GetInput("file").Get()
        for p in stage.Traverse()
        if p.GetTypeName() == "Shader" and UsdShade.Shader(p).GetInput("file")
    ]
    assert len(files) == 5
    assert all(f.resolvedPath for f in files)


def test_the_strength_of_normals_goes_into_their_picture(tmp_path):
    asset = rich()
    material = asset.meshes["plate"].material
    material.normal_map = np.full((4, 4, 3), (200, 128, 200), np.uint8)
    material.normal_scale = 0.0
    again = Asset.load(asset.save(tmp_path / "a.usda")).meshes["plate"].material
    assert again.normal_scale == 1
    assert np.unique(again.normal_map.reshape(-1, 3), axis=0).tolist() == [[128, 128, 255]]


@pytest.mark.parametrize("kind", ["usda", "usdz"])
def test_the_validators_of_usd_find_nothing(tmp_path, kind):
    validation = pytest.importorskip("pxr.UsdValidation")
    path = rich().save(tmp_path / f"a.{kind}")
    registry = validation.ValidationRegistry()
    context = validation.ValidationContext(registry.GetOrLoadAllValidators())
    found = context.Validate(Usd.Stage.Open(str(path)))
    assert [e.GetErrorAsString() for e in found] == []


def test_placed_objects_and_a_far_origin(tmp_path):
    mesh = next(iter(good_asset().meshes.values()))
    turned = Transform.turn(0.5, 2.0, np.array([5.0, 0.0, 1.0]))
    nodes = {"one": Node({"a": mesh}, turned), "two": Node({"a": mesh}, Transform())}
    asset = Asset.scene(nodes)
    asset.offset = np.array([5e5, 100.0, 5e6])
    again = Asset.load(asset.save(tmp_path / "a.usda"))
    assert list(again.meshes) == ["a", "a.1"] or list(again.meshes) == ["one", "two"]
    for one, two in zip(asset.meshes.values(), again.meshes.values()):
        np.testing.assert_allclose(
            two.vertices + again.offset, one.vertices + asset.offset, atol=1e-5
        )


def stage_of(path, up="Z", metres=0.01):
    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageUpAxis(stage, up)
    UsdGeom.SetStageMetersPerUnit(stage, metres)
    return stage


def quad(stage, path):
    mesh = UsdGeom.Mesh.Define(stage, path)
    mesh.CreatePointsAttr([(0, 0, 0), (100, 0, 0), (100, 100, 0), (0, 100, 0)])
    mesh.CreateFaceVertexCountsAttr([4])
    mesh.CreateFaceVertexIndicesAttr([0, 1, 2, 3])
    return mesh


def test_units_axes_interpolation_groups_and_hidden_meshes(tmp_path):
    stage = stage_of(tmp_path / "a.usda")
    mesh = quad(stage, "/a")
    mesh.CreateFaceVertexCountsAttr([3, 3])
    mesh.CreateFaceVertexIndicesAttr([0, 1, 2, 0, 2, 3])
    mesh.CreateOrientationAttr("leftHanded")
    api = UsdGeom.PrimvarsAPI(mesh)
    st = api.CreatePrimvar("map1", Sdf.ValueTypeNames.TexCoord2fArray, "faceVarying")
    st.Set([(0, 0), (1, 0), (1, 1), (0.5, 0.5)])
    st.SetIndices([0, 1, 2, 3, 2, 0])
    api.CreatePrimvar("displayColor", Sdf.ValueTypeNames.Color3fArray, "uniform").Set(
        [(1, 0, 0), (0, 0, 1)]
    )
    for n, name in enumerate(("red", "blue")):
        material = UsdShade.Material.Define(stage, f"/m/{name}")
        shader = UsdShade.Shader.Define(stage, f"/m/{name}/s")
        shader.CreateIdAttr("UsdPreviewSurface")
        shader.CreateInput("metallic", Sdf.ValueTypeNames.Float).Set(0.5 * n)
        material.CreateSurfaceOutput().ConnectToSource(shader.ConnectableAPI(), "surface")
        subset = UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).CreateMaterialBindSubset(
            name, [n]
        )
        UsdShade.MaterialBindingAPI.Apply(subset.GetPrim()).Bind(material)
    UsdGeom.Imageable(quad(stage, "/hidden")).MakeInvisible()
    UsdGeom.Imageable(quad(stage, "/guide")).CreatePurposeAttr("guide")
    UsdGeom.Sphere.Define(stage, "/ball")
    stage.Save()
    asset = Asset.load(tmp_path / "a.usda")
    assert [m.material.name for m in asset.meshes.values()] == ["red", "blue"]
    assert [m.material.metallic for m in asset.meshes.values()] == [0, 0.5]
    assert {m.part for m in asset.meshes.values()} == {"a"}
    one, two = asset.meshes.values()
    assert sorted(map(tuple, two.uv.tolist())) == [(0, 0), (0.5, 0.5), (1, 1)]
    # One by one metre, lying: Z is up in the file, and turned over, for it is left-handed.
    assert one.area + two.area == pytest.approx(1)
    assert one.with_normals().normals[:, 1] == pytest.approx(-1)
    assert asset.notes == [
        "1 of the kind hidden prim left out",
        "1 of the kind Sphere left out",
    ]
    assert not asset.polygons


def test_instances_of_both_kinds_are_flattened(tmp_path):
    stage = stage_of(tmp_path / "a.usda", "Y", 1.0)
    crowd = UsdGeom.PointInstancer.Define(stage, "/crowd")
    crowd.AddTranslateOp().Set(Gf.Vec3d(0, 1000, 0))
    mesh = quad(stage, "/crowd/kinds/one/mesh")
    UsdGeom.Xform.Define(stage, "/crowd/kinds/one").AddScaleOp().Set(Gf.Vec3f(2, 2, 2))
    mesh.AddTranslateOp().Set(Gf.Vec3d(1, 0, 0))
    crowd.CreatePrototypesRel().AddTarget("/crowd/kinds/one")
    crowd.CreateProtoIndicesAttr([0, 0, 0])
    crowd.CreatePositionsAttr([(0, 0, 0), (0, 0, 10), (0, 0, 20)])
    crowd.InvisibleIdsAttr = crowd.CreateInvisibleIdsAttr([1])
    quad(stage, "/kind/mesh")
    for n in range(2):
        copy = UsdGeom.Xform.Define(stage, f"/copy{n}")
        copy.AddTranslateOp().Set(Gf.Vec3d(0, 0, -100 * (n + 1)))
        copy.GetPrim().GetReferences().AddInternalReference("/kind")
        copy.GetPrim().SetInstanceable(True)
    stage.Save()
    asset = Asset.load(tmp_path / "a.usda")
    assert asset.polygons
    lows = sorted(tuple(np.rint(m.vertices.min(0)).tolist()) for m in asset.meshes.values())
    assert lows == [(0, 0, -200), (0, 0, -100), (0, 0, 0), (2, 1000, 0), (2, 1000, 20)]


def test_other_files_are_read_from_the_folder_only(tmp_path):
    (tmp_path / "in").mkdir()
    for place in ("other.usda", "in/other.usda"):
        other = stage_of(tmp_path / place, "Y", 1.0)
        other.SetDefaultPrim(quad(other, "/a").GetPrim())
        other.Save()
    for path, fine in (
        ("./other.usda", True),
        ("other.usda", True),
        ("../other.usda", False),
        (str(tmp_path / "other.usda"), False),
        ("http://example.org/other.usda", False),
    ):
        file = tmp_path / "in" / "a.usda"
        file.write_text(
            f'#usda 1.0\n(\n upAxis = "Y"\n metersPerUnit = 1\n)\n'
            f'def "x" (\n prepend references = @{path}@\n)\n{{\n}}\n'
        )
        if fine:
            assert len(Asset.load(file).meshes) == 1
        else:
            with pytest.raises(InputError, match="points out of its folder"):
                Asset.load(file)


def test_pictures_are_read_from_the_folder_only(tmp_path):
    (tmp_path / "in").mkdir()
    path = rich().save(tmp_path / "in" / "a.usda")
    (tmp_path / "t.png").write_bytes(encode_png(picture(7)))
    path.write_text(path.read_text().replace("@./a.0.png@", "@../t.png@"))
    (tmp_path / "in" / "a.1.png").unlink()
    asset = Asset.load(path)
    plate = asset.meshes["plate"]
    assert plate.texture is None
    assert plate.material.metallic_roughness is None
    assert plate.material.normal_map is not None
    assert len(asset.notes) == 2
    assert Asset.load(path, textures=False).notes == []


def test_damaged_files_are_read_or_refused(tmp_path):
    for kind in ("usdc", "usda", "usdz"):
        path = good_asset().save(tmp_path / f"a.{kind}")
        good = path.read_bytes()
        for number in range(6):
            path.write_bytes(mutate(good, number))
            try:
                Asset.load(path)
            except InputError as error:
                line = error.line()
                assert "\n" not in line
        path.write_bytes(b"hello")
        with pytest.raises(InputError):
            Asset.load(path)


def standing_scene():
    """A turned cube on a base, as rigid bodies of a world in decimetres."""
    from dataclasses import replace

    from tests.test_poses import scene
    from threestudio_like.meshes.physics.simulation import SimulationConfig, simulated

    simulation = simulated(scene(), SimulationConfig(metres=0.1, density=500, pieces="hull"))
    nodes = {b.name: Node(b.meshes, b.where) for b in simulation.bodies}
    return replace(Asset.scene(nodes), simulation=simulation)


@pytest.mark.parametrize("kind", KINDS)
def test_rigid_bodies_by_the_schemas(tmp_path, kind):
    """Masses, moments, pieces, friction, gravity and a floor; what is seen comes back alone."""
    from pxr import UsdPhysics

    asset = standing_scene()
    path = asset.save(tmp_path / f"a.{kind}")
    stage = Usd.Stage.Open(str(path))
    bodies = [p for p in stage.Traverse() if p.HasAPI(UsdPhysics.RigidBodyAPI)]
    assert [p.GetDisplayName() for p in bodies] == ["base", "red cube"]
    cube = UsdPhysics.MassAPI(bodies[1])
    assert cube.GetMassAttr().Get() == pytest.approx(0.05**3 * 500, rel=1e-4)
    moment = 0.05**5 * 500 / 6
    np.testing.assert_allclose(cube.GetDiagonalInertiaAttr().Get(), [moment] * 3, rtol=1e-3)
    place = UsdGeom.XformCache().GetLocalToWorldTransform(bodies[1])
    assert place.ExtractTranslation() == pytest.approx((0.02, 0.125, -0.01), abs=1e-6)
    scales = [Gf.Vec3d(*place.GetRow3(k)).GetLength() for k in range(3)]
    assert scales == pytest.approx([1, 1, 1], abs=1e-6)
    pieces = [p for p in stage.Traverse() if p.HasAPI(UsdPhysics.MeshCollisionAPI)]
    assert len(pieces) == 2
    for piece in pieces:
        assert UsdGeom.Imageable(piece).ComputePurpose() == "guide"
        material, _ = UsdShade.MaterialBindingAPI(piece).ComputeBoundMaterial("physics")
        friction = UsdPhysics.MaterialAPI(material.GetPrim()).GetDynamicFrictionAttr().Get()
        assert friction == pytest.approx(0.7)
    floor = stage.GetPrimAtPath("/Asset/Floor")
    assert floor.HasAPI(UsdPhysics.CollisionAPI)
    again = Asset.load(path)
    assert list(again.meshes) == ["base", "red cube"]
    for name, mesh in asset.meshes.items():
        one, two = (np.unique(m.vertices.round(5), axis=0) for m in (mesh, again.meshes[name]))
        np.testing.assert_allclose(two, one, atol=2e-5)


def complaints(stage) -> list[str]:
    """What OpenUSD's own validators say of a stage."""
    from pxr import UsdValidation

    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    names = [v.GetMetadata().name for v in validators]
    assert "usdPhysicsValidators:RigidBodyChecker" in names
    return [e.GetName() for e in UsdValidation.ValidationContext(validators).Validate(stage)]


def test_openusds_validators_have_nothing_to_say(tmp_path):
    """And they have, once a body is something that has no place."""
    from pxr import UsdPhysics

    pytest.importorskip("pxr.UsdValidation")
    stage = Usd.Stage.Open(str(standing_scene().save(tmp_path / "a.usda")))
    assert complaints(stage) == []
    UsdPhysics.RigidBodyAPI.Apply(stage.GetPrimAtPath("/Asset/Materials"))
    assert complaints(stage) == ["RigidBodyNonXformable"]


def in_text(path, text, mark=True):
    path.write_bytes((b"\xef\xbb\xbf" if mark else b"") + text.encode())
    return path


@pytest.mark.parametrize("suffix", ["usda", "usd"])
def test_a_byte_order_mark_before_a_text_is_left_out(tmp_path, suffix):
    asset = rich()
    text = asset.save(tmp_path / "a.usda").read_text()
    again = Asset.load(in_text(tmp_path / f"b.{suffix}", text.replace("\n", "\r\n")))
    plain = Asset.load(tmp_path / "a.usda")
    assert list(again.meshes) == list(plain.meshes)
    for name, mesh in plain.meshes.items():
        np.testing.assert_array_equal(again.meshes[name].vertices, mesh.vertices)
        assert (again.meshes[name].texture is None) == (mesh.texture is None)
    assert again.notes == plain.notes


@pytest.mark.parametrize("marks", [(True, False), (False, True), (True, True)])
def test_files_with_byte_order_marks_name_each_other(tmp_path, marks):
    text = Asset({"a": good_asset().mesh}).save(tmp_path / "a.usda").read_text()
    in_text(tmp_path / "part.usda", text, marks[0])
    whole = in_text(
        tmp_path / "whole.usda",
        '#usda 1.0\n(\n    upAxis = "Y"\n    metersPerUnit = 1\n)\n'
        'def Xform "one" (references = @./part.usda@</Asset>)\n{\n}\n'
        'def Xform "two" (references = @./a.usda@</Asset>)\n{\n}\n',
        marks[1],
    )
    asset = Asset.load(whole)
    assert len(asset.meshes) == 2
    assert asset.notes == []


def test_a_text_with_a_mark_is_refused_where_one_without_is(tmp_path):
    for text, says in (
        ("#usda 1.0\n{{{", "is damaged"),
        ("#usda 1.0\n(\n    subLayers = [@../out.usda@]\n)\n", "points out of its folder"),
    ):
        with pytest.raises(InputError, match=says):
            Asset.load(in_text(tmp_path / "a.usda", text))
