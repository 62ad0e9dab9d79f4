"""`texture` gives the user's file back whole: what is locked, what is not painted, alpha, maps and
coordinates stay; one file with several looks."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from threestudio_like import AssetOptions, RunOptions, texture
from threestudio_like.cli import main
from threestudio_like.meshes import Asset, Mesh
from threestudio_like.meshes.io.gltf.compare import differences
from threestudio_like.meshes.texture.atlas import pack
from threestudio_like.meshes.texture.coordinates import examine_uv, settled, with_coordinates
from threestudio_like.systems.texturing.painted import Painting
from threestudio_like.systems.texturing.subject import (
    SubjectOptions,
    cut_out_alpha,
    locked_texels,
    present_texture,
    read_subject,
)

from .gltf_files import FEATURES, cart, checks, featured, gltf_of

QUICK = {"start.refine.views": "4", "start.refine.steps": "2", "rgb.steps": "2", "pbr.steps": "2"}
QUICK |= {"start.iterations": "3"}


def paint(path, tmp_path, prompt="a red car", **more):
    settings = {**QUICK, **more.pop("set", {})}
    return texture(
        path,
        prompt,
        set=settings,
        asset=AssetOptions(texture=more.pop("size", 64), turntable=False),
        run=RunOptions(out=tmp_path / "run", quiet=True),
        **more,
    )


def write(tmp_path, name):
    (tmp_path / "in.glb").write_bytes(featured(name))
    return tmp_path / "in.glb"


def fake(subject, options, value=200, rough=None):
    """A painting of one grey value, without any distillation."""
    edge = subject.atlas.resolution
    colour = np.full((edge, edge, 3), value, np.uint8)
    packed = None if rough is None else np.full((edge, edge, 3), rough, np.uint8)
    return Painting(subject, options, colour, packed)


def test_one_part_is_painted_and_everything_else_is_the_users(tmp_path):
    path = write(tmp_path, "everything")
    result = paint(path, tmp_path, parts=("paint",))
    found = differences(path, tmp_path / "run" / "asset.glb")
    assert found
    assert all(
        p.startswith(("/materials/0/pbr", "/textures", "/images", "/samplers", "/asset/extras"))
        for p in found
    ), found
    assert result.rest.passed
    assert "3 of 4 parts untouched, 1 skin, 1 animation" in result.rest.line()
    before, after = Asset.load(path), Asset.load(tmp_path / "run" / "asset.glb")
    painted = [n for n in before.meshes if after.meshes[n].texture is not before.meshes[n].texture]
    assert "skinned body" in painted


def mask_file(tmp_path, size=32):
    mask = np.zeros((size, size), np.uint8)
    mask[: size // 2] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


@pytest.mark.parametrize("rough", [None, 90])
@pytest.mark.parametrize("size", [16, 32, 64, 100])
def test_texels_under_a_mask_are_the_same_bits(tmp_path, size, rough):
    path = write(tmp_path, "normal, occlusion, emissive, metallic-roughness maps")
    options = SubjectOptions(lock=mask_file(tmp_path), texels=size, parts=("body",), maps="paint")
    subject = read_subject(path, options, "box")
    painting = fake(subject, options, rough=rough)
    before, after = subject.file.meshes["body"], painting.asset().meshes["body"]
    assert after.uv is before.uv
    pairs = [(before.texture, after.texture)]
    if rough is not None:
        pairs.append((before.material.metallic_roughness, after.material.metallic_roughness))
    for old, new in pairs:
        many = new.shape[0] // old.shape[0]
        assert new.shape[:2] == (many * old.shape[0], many * old.shape[1])
        assert new.shape[0] >= subject.atlas.tile_of("body").size
        large = np.repeat(np.repeat(old, many, 0), many, 1)
        half = new.shape[0] // 2
        if old is before.texture:
            assert np.array_equal(new[:half], large[:half])
        else:
            scale = np.array([1.0, before.material.roughness, before.material.metallic])
            assert np.array_equal(new[:half], np.rint(large[:half] * scale).astype(np.uint8))
        assert (new[half:] == (200 if old is before.texture else rough)).all()


def test_texels_under_a_mask_are_the_same_colours_on_new_coordinates(tmp_path):
    path = write(tmp_path, "plain")
    options = SubjectOptions(lock=mask_file(tmp_path), texels=128, parts=("body",), unwrap="always")
    subject = read_subject(path, options, "box")
    locked = locked_texels(subject)
    assert locked is not None
    painting = fake(subject, options)
    new = painting.look("body")[0]
    tile, places = subject.atlas.tile_of("body"), subject.places("body")
    under = locked[tile.rows, tile.columns].numpy() & places.known
    kept = new[under]
    assert len(kept) > 500
    assert {tuple(c) for c in kept} <= {(200, 50, 40), (250, 250, 250)}
    assert (new[places.known & ~under] == 200).all()
    # And the old coordinates are still there, as a further set.
    document, _ = gltf_of(painting.asset().save(tmp_path / "o.glb").read_bytes())
    assert "TEXCOORD_1" in document["meshes"][0]["primitives"][0]["attributes"]


def test_a_locked_part_that_shares_its_material_keeps_it(tmp_path):
    path = write(tmp_path, "shared material")
    result = paint(path, tmp_path, lock_parts=("load",))
    before, after = Asset.load(path), Asset.load(tmp_path / "run" / "asset.glb")
    assert np.array_equal(before.meshes["load"].texture, after.meshes["load"].texture)
    assert before.meshes["load"].material.name == after.meshes["load"].material.name
    assert not np.array_equal(before.meshes["body"].texture, after.meshes["body"].texture)
    assert result.rest.passed


def test_alpha_stays_and_holes_are_not_painted(tmp_path):
    path = write(tmp_path, "alpha mask")
    options = SubjectOptions(texels=64)
    subject = read_subject(path, options, "box")
    alpha = cut_out_alpha(subject)
    assert 0.2 < float(alpha.mean()) < 1
    result = paint(path, tmp_path, parts=("body",))
    before, after = Asset.load(path).meshes["body"], result.asset.meshes["body"]
    many = after.texture.shape[0] // 32
    assert np.array_equal(
        after.texture[..., 3], np.repeat(np.repeat(before.texture[..., 3], many, 0), many, 1)
    )
    assert after.material.alpha_mode == "MASK"
    assert after.material.alpha_cutoff == pytest.approx(0.3)


def test_maps_of_the_file_stay_unless_asked(tmp_path):
    path = write(tmp_path, "normal, occlusion, emissive, metallic-roughness maps")
    for maps, stays in (("auto", True), ("keep", True), ("paint", False)):
        options = SubjectOptions(texels=32, parts=("body",), maps=maps)
        subject = read_subject(path, options, "box")
        before = subject.file.meshes["body"].material
        after = fake(subject, options, rough=90).asset().meshes["body"].material
        assert (after.metallic_roughness is before.metallic_roughness) == stays
        assert after.normal_map is before.normal_map


def test_a_palette_gets_coordinates_of_its_own_and_says_so(tmp_path, capsys):
    path = write(tmp_path, "palette")
    asset = Asset.load(path)
    assert "palette" in examine_uv(asset.meshes["body"]).line()
    paint(path, tmp_path, parts=("body",))
    document, _ = gltf_of((tmp_path / "run" / "asset.glb").read_bytes())
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    assert {"TEXCOORD_0", "TEXCOORD_1"} <= set(attributes)
    events = (tmp_path / "run" / "events.jsonl").read_text()
    assert "a palette" in events
    again = Asset.load(tmp_path / "run" / "asset.glb")
    assert examine_uv(again.meshes["body"]).proper


def test_a_palette_starts_with_the_look_that_it_has(tmp_path):
    path = write(tmp_path, "palette")
    subject = read_subject(path, SubjectOptions(texels=128), "box")
    shown = present_texture(subject).permute(1, 2, 0).numpy()
    tile, places = subject.atlas.tile_of("body"), subject.places("body")
    colours = np.rint(shown[tile.rows, tile.columns][places.known] * 255).astype(int)
    assert {tuple(c) for c in colours} <= {(200, 50, 40), (250, 250, 250)}


def test_coordinates_a_hair_outside_or_in_other_tiles_are_kept():
    import io

    del io
    from .gltf_files import box

    shape = box()
    from threestudio_like.meshes import Mesh

    def mesh(uv):
        return Mesh(shape["position"], shape["faces"].astype(np.int32), uv.astype(np.float32))

    plain = shape["uv"] * [1, -1] + [0, 1]
    hair = plain.copy()
    hair[0] -= [plain[0, 0] + 0.002, 0]
    assert examine_uv(mesh(hair)).proper
    tiles = plain.copy()
    tiles[4:8] += [3, -2]
    state = examine_uv(mesh(tiles))
    assert state.proper
    assert state.shifted
    assert np.allclose(settled(mesh(tiles))[0], plain, atol=1e-6)
    tiled = examine_uv(mesh(plain * 3))
    assert not tiled.proper
    kept, notes = with_coordinates(Asset({"a": mesh(tiles)}), 64)
    assert "kept" in notes["a"]
    assert np.array_equal(kept.meshes["a"].uv, tiles.astype(np.float32))


def test_variants_share_one_layout_and_the_texels_under_a_mask(tmp_path):
    path = write(tmp_path, "plain")
    prompts = ("a blue car", "a green car", "a white car")
    paint(path, tmp_path, variants=prompts, parts=("body",), lock=mask_file(tmp_path))
    document, binary = gltf_of((tmp_path / "run" / "asset.glb").read_bytes())
    table = document["extensions"]["KHR_materials_variants"]["variants"]
    assert [v["name"] for v in table] == ["a red car", *prompts]
    rows = document["meshes"][0]["primitives"][0]["extensions"]["KHR_materials_variants"]
    pictures = []
    for mapping in rows["mappings"]:
        material = document["materials"][mapping["material"]]
        info = material["pbrMetallicRoughness"]["baseColorTexture"]
        image = document["images"][document["textures"][info["index"]]["source"]]
        view = document["bufferViews"][image["bufferView"]]
        import io

        data = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        pictures.append(np.asarray(Image.open(io.BytesIO(data))))
    assert len({p.tobytes() for p in pictures}) == 4
    half = pictures[0].shape[0] // 2
    assert all(np.array_equal(p[:half], pictures[0][:half]) for p in pictures)
    assert sorted(p.name for p in (tmp_path / "run" / "textures").iterdir()) == [
        "a-blue-car",
        "a-green-car",
        "a-red-car",
        "a-white-car",
    ]
    # Meshes that were not painted have no variants.
    assert "extensions" not in document["meshes"][1]["primitives"][0]


def test_texture_only_writes_the_pictures_alone(tmp_path):
    path = write(tmp_path, "plain")
    paint(path, tmp_path, parts=("body",), texture_only=True)
    assert not (tmp_path / "run" / "asset.glb").exists()
    assert [p.name for p in (tmp_path / "run" / "textures").iterdir()] == ["body.png"]


def test_instances_are_painted_once_and_stay_instances(tmp_path):
    path = write(tmp_path, "plain")
    paint(path, tmp_path, parts=("front wheel", "back wheel"))
    found = differences(path, tmp_path / "run" / "asset.glb")
    document, _ = gltf_of((tmp_path / "run" / "asset.glb").read_bytes())
    assert len(document["meshes"]) == 3
    assert not any(p.startswith(("/nodes", "/scenes", "/meshes/0", "/meshes/1")) for p in found)


def test_tiles_are_as_large_as_the_surface_they_cover():
    places = pack([4.0, 2.0, 1.0, 1.0], 512)
    sizes = [p.size for p in places]
    assert sizes[0] == pytest.approx(2 * sizes[1], abs=2)
    assert sizes[1] == pytest.approx(2 * sizes[2], abs=2)
    taken = np.zeros((512, 512), int)
    for place in places:
        taken[place.row - 2 : place.row + place.size + 2, place.columns] += 1
    assert taken.max() == 1
    assert sum(s * s for s in sizes) > 0.5 * 512 * 512
    assert len(pack([1.0] * 900, 64)) == 900


def test_parts_that_are_not_there_are_named(tmp_path, capsys):
    path = write(tmp_path, "plain")
    base = ["texture", str(path), "a red car", "--out", str(tmp_path / "r")]
    assert main([*base, "--parts", "boddy"]) == 2
    assert "Did you mean" in capsys.readouterr().err
    assert main([*base, "--parts", "body", "--lock-parts", "body"]) == 2
    assert "no part is left" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_vertex_colours_go_into_the_texture(tmp_path):
    path = write(tmp_path, "vertex colours with alpha")
    options = SubjectOptions(texels=64, parts=("body",))
    subject = read_subject(path, options, "box")
    after = fake(subject, options).asset()
    colours = after.meshes["body"].colours
    assert (colours[:, :3] == 1).all()
    assert np.array_equal(colours[:, 3], subject.file.meshes["body"].colours[:, 3])
    again = Asset.load(after.save(tmp_path / "o.glb"))
    assert np.allclose(again.meshes["body"].colours, colours, atol=1e-6)


def test_export_fits_faces_and_textures(tmp_path, capsys):
    glb = cart()
    FEATURES["normal, occlusion, emissive, metallic-roughness maps"](glb)
    glb.document["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]["index"] = glb.texture(
        checks((9, 9, 9), (99, 99, 99), 128)
    )
    (tmp_path / "a.glb").write_bytes(glb.data())
    main(["export", str(tmp_path / "a.glb"), "--to", "glb", "obj", "--texture", "16", "--json"])
    small = Asset.load(tmp_path / "a-export.glb")
    body = small.meshes["body"]
    assert body.texture.shape[0] == 16
    assert body.material.normal_map.shape[0] == 16
    assert body.material.emissive_map.shape[0] == 16
    assert body.material.metallic_roughness.shape[0] == 16
    lines = [json.loads(x) for x in capsys.readouterr().out.strip().splitlines()]
    assert [row["kind"] for row in lines[1]["not kept"]]
    assert main(["export", str(tmp_path / "a.glb"), "--faces", "40", "--force"]) == 0
    assert sum(len(m.faces) for m in Asset.load(tmp_path / "a-export.glb").meshes.values()) <= 48


def test_unwrap_rebakes(tmp_path):
    path = write(tmp_path, "normal, occlusion, emissive, metallic-roughness maps")
    from threestudio_like.meshes.picture import render_asset
    from threestudio_like.renderers import RingCameras

    for target in ("u.glb", "u.obj"):
        args = ["mesh", "unwrap", str(path), "--out", str(tmp_path / target), "--texture", "512"]
        assert main(args) == 0
    before = Asset.load(path)
    cameras = RingCameras(count=4, distance=6.0).all(96).view_projection().numpy()
    flat = [
        render_asset(
            a.with_meshes({k: replace(m, colours=None) for k, m in a.meshes.items()}), cameras, 96
        ).image
        for a in (before, Asset.load(tmp_path / "u.glb"), Asset.load(tmp_path / "u.obj"))
    ]
    for again in flat[1:]:
        assert np.sqrt(np.square(again - flat[0]).mean()) < 0.04
    document, _ = gltf_of((tmp_path / "u.glb").read_bytes())
    assert document["materials"][0]["normalTexture"]["texCoord"] == 1


def test_refining_a_painting_leaves_what_it_left(tmp_path, monkeypatch):
    """Parts, locks and maps of the run hold for its refinement; what is gone is told."""
    from threestudio_like.commands.jobs import texture as job
    from threestudio_like.commands.jobs.refine import refine
    from threestudio_like.commands.refine import Refine
    from threestudio_like.runs.record import RunRecord

    mesh = Mesh(np.eye(3, dtype=np.float32), np.int32([[0, 1, 2]]))
    Asset({"body": mesh, "wheels": mesh}).save(tmp_path / "asset.glb")
    lock = tmp_path / "lock.png"
    lock.write_bytes(b"")
    options = {"parts": ["body"], "lock_parts": ["wheels", "roof"], "maps": "keep"}
    facts = {"prompt": "a red car"}
    told = {}
    monkeypatch.setattr(job, "texture", lambda given, **more: told.update(more, given=given))
    RunRecord(command="texture", options={**options, "lock": str(lock)}, facts=facts).write(
        tmp_path
    )
    refine(Refine(source=tmp_path))
    given = told["given"]
    assert (given.parts, given.lock_parts, given.maps) == (("body",), ("wheels",), "keep")
    assert given.lock == lock
    assert told["notes"] == [
        "Warning: --lock-parts of the run is not kept for roof: the asset has none.",
    ]
    lock.unlink()
    refine(Refine(source=tmp_path))
    assert told["given"].lock is None
    assert told["notes"][-1] == f"Warning: --lock of the run is not kept: {lock} is not there."
