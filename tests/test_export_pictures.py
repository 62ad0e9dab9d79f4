"""`export --texture`: every picture of the file, whoever names it, is small enough or told; none is
there twice, and none is left that nothing names. Files are looked at without the package."""

import io
import json
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from PIL import Image

from threestudio_like.cli import main
from threestudio_like.meshes import Asset
from threestudio_like.meshes.fitting import fitted
from threestudio_like.meshes.mesh import Variant

from .gltf_files import FEATURES, RED, WHITE, Glb, cart, checks, encoded, gltf_of

LARGEST = 32
MAPS = {
    "clearcoat": ("clearcoatTexture", "clearcoatRoughnessTexture", "clearcoatNormalTexture"),
    "sheen": ("sheenColorTexture", "sheenRoughnessTexture"),
    "transmission": ("transmissionTexture",),
    "specular": ("specularTexture", "specularColorTexture"),
    "iridescence": ("iridescenceTexture", "iridescenceThicknessTexture"),
    "volume": ("thicknessTexture",),
    "anisotropy": ("anisotropyTexture",),
    "diffuse_transmission": ("diffuseTransmissionTexture", "diffuseTransmissionColorTexture"),
    "pbrSpecularGlossiness": ("diffuseTexture", "specularGlossinessTexture"),
    "of_tomorrow": ("glowTexture",),
}


def noise(seed: int, height: int = 64, width: int = 48, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def _extension(name: str) -> Callable[[Glb], None]:
    def change(glb: Glb) -> None:
        rows = {key: {"index": glb.texture(noise(k))} for k, key in enumerate(MAPS[name])}
        paint = glb.document["materials"][0]
        paint.setdefault("extensions", {})[f"KHR_materials_{name}"] = rows
        if name in ("clearcoat", "anisotropy"):
            # Those have directions along the surface, which a viewer makes by the normal map.
            paint["normalTexture"] = {"index": glb.texture(noise(9))}
        glb.use(f"KHR_materials_{name}")

    return change


def _variants(glb: Glb) -> None:
    FEATURES["material variants"](glb)
    base = {"baseColorTexture": {"index": glb.texture(noise(1))}}
    other = glb.add("materials", {"name": "other", "pbrMetallicRoughness": base})
    first = glb.document["meshes"][0]["primitives"][0]
    first["extensions"]["KHR_materials_variants"]["mappings"][1]["material"] = other


def _packed(glb: Glb) -> None:
    """One picture of occlusion, roughness and metallic, as programs pack them; with an alpha."""
    number = glb.texture(noise(1, channels=4))
    paint = glb.document["materials"][0]
    paint["occlusionTexture"] = {"index": number}
    paint["pbrMetallicRoughness"]["metallicRoughnessTexture"] = {"index": number}
    paint["emissiveTexture"] = {"index": number}


def _two_samplers(glb: Glb) -> None:
    source = glb.image(noise(1))
    for key, wrap in (("normalTexture", 10497), ("occlusionTexture", 33071)):
        sampler = glb.add("samplers", {"wrapS": wrap})
        index = glb.add("textures", {"source": source, "sampler": sampler})
        glb.document["materials"][0][key] = {"index": index}


def _webp(glb: Glb) -> None:
    """A WebP with a PNG for those who cannot read it."""
    glb.document["textures"][0] = {
        "source": glb.image(noise(1)),
        "extensions": {"EXT_texture_webp": {"source": glb.image(noise(2), "WEBP")}},
    }
    glb.use("EXT_texture_webp")


def _base(**more) -> Callable[[Glb], None]:
    def change(glb: Glb) -> None:
        glb.document["textures"][0]["source"] = glb.image(noise(1, **more))

    return change


def _jpeg(glb: Glb) -> None:
    glb.document["textures"][0]["source"] = glb.image(noise(1), "JPEG")


def _unused(glb: Glb) -> None:
    row = {"name": "unused", "normalTexture": {"index": glb.texture(noise(1))}}
    glb.add("materials", row)


def _orphan(glb: Glb) -> None:
    glb.image(noise(1))


def _hidden(glb: Glb) -> None:
    glb.document["nodes"][0]["extensions"] = {"KHR_node_visibility": {"visible": False}}
    glb.use("KHR_node_visibility")
    base = {"baseColorTexture": {"index": glb.texture(noise(1))}}
    material = glb.add("materials", {"pbrMetallicRoughness": base})
    glb.document["meshes"][1]["primitives"][0]["material"] = material


def _unknown(glb: Glb) -> None:
    """An extension of the whole file that names a picture as only it knows."""
    glb.document["extensions"] = {"SHOP_thumbnail": {"picture": glb.image(noise(1))}}
    glb.use("SHOP_thumbnail")


KINDS: dict[str, Callable[[Glb], None]] = {
    **{f"of {name}": _extension(name) for name in MAPS},
    "variants": _variants,
    "every core map": lambda glb: FEATURES["everything"](glb),
    "packed": _packed,
    "one picture in two textures": _two_samplers,
    "WebP": _webp,
    "JPEG": _jpeg,
    "wide": _base(height=20, width=200),
    "a material that nothing shows": _unused,
    "an orphan": _orphan,
    "a hidden part": _hidden,
    "an unknown extension": _unknown,
    "small ones": lambda glb: None,
}


def pictures(data: bytes) -> list[bytes]:
    """The bytes of every picture of a GLB."""
    document, binary = gltf_of(data)
    views = [document["bufferViews"][row["bufferView"]] for row in document["images"]]
    return [binary[v["byteOffset"] :][: v["byteLength"]] for v in views]


def sizes(data: bytes) -> list[tuple[int, int]]:
    """The size of every picture of a GLB."""
    return [Image.open(io.BytesIO(picture)).size for picture in pictures(data)]


def unnamed(data: bytes) -> tuple[int, ...]:
    """How many textures, pictures and buffer views of a GLB nothing names."""
    document, _ = gltf_of(data)
    textures, sources = set(), set()
    stack = [document["materials"]]
    while stack:
        item = stack.pop()
        stack += item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        if isinstance(item, dict) and "index" in item:
            textures.add(item["index"])
    for row in document["textures"]:
        rows = (row, *row.get("extensions", {}).values())
        sources |= {r["source"] for r in rows if "source" in r}
    views = {row["bufferView"] for row in (*document["images"], *document["accessors"])}
    tables = ((textures, "textures"), (sources, "images"), (views, "bufferViews"))
    return tuple(len(document[table]) - len(found) for found, table in tables)


def exported(tmp_path, data: bytes, *words: str) -> bytes:
    (tmp_path / "in.glb").write_bytes(data)
    out = tmp_path / "out"
    call = ["export", str(tmp_path / "in.glb"), "--to", "glb", "--out", str(out), *words]
    assert main(call) == 0
    return (out / "in.glb").read_bytes()


@pytest.mark.parametrize("name", list(KINDS))
@pytest.mark.parametrize("faces", [[], ["--faces", "24"]], ids=["", "fewer faces"])
def test_every_picture_is_small_and_there_once(tmp_path, capsys, name, faces):
    glb = cart()
    KINDS[name](glb)
    given = glb.data()
    written = exported(tmp_path, given, "--texture", str(LARGEST), *faces)
    assert max(max(size) for size in sizes(written)) <= LARGEST
    # As many as there were, each in its place and in its shape.
    for (width, height), (new_width, new_height) in zip(sizes(given), sizes(written), strict=True):
        share = min(1, LARGEST / max(width, height))
        assert abs(new_width - width * share) <= 0.5
        assert abs(new_height - height * share) <= 0.5
    twice = [Counter(pictures(data)).most_common(1)[0][1] for data in (given, written)]
    assert twice[1] == twice[0] == 1
    assert unnamed(written)[:2] == unnamed(given)[:2]
    if not faces:
        assert unnamed(written) == unnamed(given)
    before, after = gltf_of(given)[0], gltf_of(written)[0]
    for table in ("materials", "textures", "samplers"):
        assert after.get(table) == before.get(table)
    # Bytes are what they are said to be.
    for row, picture in zip(after["images"], pictures(written)):
        assert row["mimeType"] == Image.MIME[Image.open(io.BytesIO(picture)).format]
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Note: ")]
    # Of pictures none; of parts with fewer faces one each.
    assert all(" faces, moved by at most " in line for line in notes)
    assert bool(notes) == bool(faces)
    # Another reader, too, finds them all.
    scenes = [trimesh.load(io.BytesIO(d), file_type="glb", process=False) for d in (given, written)]
    assert len(scenes[1].graph.nodes_geometry) == len(scenes[0].graph.nodes_geometry)


def test_small_pictures_are_the_bytes_that_they_were(tmp_path):
    glb = cart()
    _variants(glb)
    glb.document["textures"].append({"source": glb.image(noise(5, 16, 16), "JPEG")})
    given = glb.data()
    assert pictures(exported(tmp_path, given, "--texture", "64")) == pictures(given)


def test_pictures_beside_the_file_come_in_once(tmp_path):
    glb = cart()
    FEATURES["normal, occlusion, emissive, metallic-roughness maps"](glb)
    for row in glb.document["images"]:
        row.pop("bufferView"), row.pop("mimeType")
        row["uri"] = "same.png"
    (tmp_path / "same.png").write_bytes(encoded(noise(1)))
    (tmp_path / "in.bin").write_bytes(glb.binary)
    buffers = [{"byteLength": len(glb.binary), "uri": "in.bin"}]
    (tmp_path / "in.gltf").write_text(json.dumps({**glb.document, "buffers": buffers}))
    for limit, longest in (("32", 32), ("64", 64)):
        call = ["export", str(tmp_path / "in.gltf"), "--to", "glb", "--texture", limit]
        assert main([*call, "--out", str(tmp_path / limit)]) == 0
        written = (tmp_path / limit / "in.glb").read_bytes()
        assert {max(size) for size in sizes(written)} == {longest}
        assert len({row["bufferView"] for row in gltf_of(written)[0]["images"]}) == 1


def _ktx(width: int, height: int) -> bytes:
    head = b"\xabKTX 20\xbb\r\n\x1a\n" + struct.pack("<IIII", 0, 1, width, height)
    return head + bytes(64)


@pytest.mark.parametrize("size", [16, 64])
def test_what_cannot_be_read_is_told_where_it_is_too_large(tmp_path, capsys, size):
    glb = cart()
    row = {"bufferView": glb.view(_ktx(size, size)), "mimeType": "image/ktx2", "name": "bark"}
    source = glb.add("images", row)
    glb.document["textures"][0]["extensions"] = {"KHR_texture_basisu": {"source": source}}
    glb.use("KHR_texture_basisu")
    written = exported(tmp_path, glb.data(), "--texture", str(LARGEST))
    notes = [x for x in capsys.readouterr().err.splitlines() if x.startswith("Note: ")]
    line = f"pictures that cannot be read stay above {LARGEST} pixels (bark, KTX2, 64 x 64)"
    assert notes == ([f"Note: {line}."] if size > LARGEST else [])
    assert pictures(written)[1] == _ktx(size, size)


def test_pictures_of_data_and_deep_ones_are_told(tmp_path, capsys):
    glb = cart()
    features = {"featureIds": [{"featureCount": 2, "texture": {"index": glb.texture(noise(1))}}]}
    first = glb.document["meshes"][0]["primitives"][0]
    first["extensions"] = {"EXT_mesh_features": features}
    glb.use("EXT_mesh_features")
    buffer = io.BytesIO()
    Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16).save(buffer, "PNG")
    row = {"bufferView": glb.view(buffer.getvalue()), "mimeType": "image/png", "name": "deep"}
    index = glb.add("textures", {"source": glb.add("images", row)})
    glb.document["materials"][0]["occlusionTexture"] = {"index": index}
    written = exported(tmp_path, glb.data(), "--texture", str(LARGEST))
    assert sizes(written) == [(32, 32), (48, 64), (32, 32)]
    told = capsys.readouterr().err
    assert f"pictures that hold data stay above {LARGEST} pixels (picture " in told
    assert "pictures of 16 bits a channel that were scaled down have 8 (deep)" in told


def test_looks_that_python_code_added_are_fitted_too():
    asset = Asset({"a": replace(_square(), texture=noise(1))})
    asset.variants.append(Variant("other", {"a": (noise(2), None)}))
    small = fitted(asset, texture=LARGEST)
    assert max(small.variants[0].looks["a"][0].shape) == LARGEST
    assert max(small.meshes["a"].texture.shape) == LARGEST
    assert max(asset.variants[0].looks["a"][0].shape) == 64


def _square():
    from threestudio_like.meshes import Mesh

    points = np.float32([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    return Mesh(points, np.int32([[0, 1, 2], [0, 2, 3]]), uv=points[:, :2].copy())


def test_a_library_keeps_its_other_pictures_small(tmp_path):
    """OBJ: what a material has besides the maps that are shown here."""
    lines = "newmtl wood\nmap_Kd wood.jpg\nmap_Ks shine.png\nnorm bumps.png\n"
    (tmp_path / "a.mtl").write_text(lines)
    Image.fromarray(noise(1)).save(tmp_path / "wood.jpg")
    Image.fromarray(noise(2)).save(tmp_path / "shine.png")
    Image.fromarray(noise(3)).save(tmp_path / "bumps.png")
    text = "mtllib a.mtl\nusemtl wood\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\n"
    (tmp_path / "a.obj").write_text(text + "f 1/1 2/2 3/3\n")
    call = ["export", str(tmp_path / "a.obj"), "--to", "obj", "--texture", str(LARGEST)]
    assert main([*call, "--out", str(tmp_path / "out")]) == 0
    found = {p.name: Image.open(p).size for p in (tmp_path / "out").iterdir() if p.suffix == ".png"}
    library = next((tmp_path / "out").glob("*.mtl")).read_text()
    assert len(found) == 3
    assert set(found.values()) == {(24, 32)}
    assert all(name in library for name in found)
    assert not list((tmp_path / "out").glob("*.jpg"))


@pytest.mark.parametrize("name", ["variants", "packed", "of clearcoat", "JPEG", "every core map"])
def test_other_tools_leave_no_picture_that_nothing_names(tmp_path, name):
    """New coordinates need a new picture; the old one goes where nothing else names it."""
    glb = cart()
    KINDS[name](glb)
    (tmp_path / "in.glb").write_bytes(glb.data())
    call = ["mesh", "unwrap", str(tmp_path / "in.glb"), "--out", str(tmp_path / "out.glb")]
    assert main([*call, "--texture", "64"]) == 0
    written = (tmp_path / "out.glb").read_bytes()
    assert unnamed(written)[:2] == unnamed(glb.data())[:2]
    assert max(Counter(pictures(written)).values()) == 1


def test_one_picture_painted_on_two_parts_is_there_once(tmp_path):
    glb = cart()
    base = {"baseColorTexture": {"index": glb.texture(checks(WHITE, RED))}}
    material = glb.add("materials", {"name": "load", "pbrMetallicRoughness": base})
    glb.document["meshes"][1]["primitives"][0]["material"] = material
    (tmp_path / "in.glb").write_bytes(glb.data())
    asset = Asset.load(tmp_path / "in.glb")
    paint = noise(1)
    textured = {k: m for k, m in asset.meshes.items() if m.texture is not None}
    assert len(textured) == 2
    meshes = {**asset.meshes, **{k: replace(m, texture=paint) for k, m in textured.items()}}
    written = asset.with_meshes(meshes).save(tmp_path / "out.glb").read_bytes()
    assert len(pictures(written)) == 1
    assert unnamed(written) == (0, 0, 0)
    again = Asset.load(tmp_path / "out.glb")
    assert all(np.array_equal(again.meshes[k].texture, paint) for k in textured)


@pytest.mark.parametrize("kind", ["BMP", "TGA"])
@pytest.mark.parametrize("beside", [False, True])
def test_kinds_that_gltf_does_not_have_come_in_as_png(tmp_path, kind, beside):
    """Whether a map or a further picture of an extension, embedded or in a file beside."""
    glb, shown, further = cart(), noise(1), noise(2)
    paint = glb.document["materials"][0]
    numbers = [glb.texture(shown), glb.texture(further)]
    paint["pbrMetallicRoughness"] = {"baseColorTexture": {"index": numbers[0]}}
    paint["extensions"] = {"KHR_materials_clearcoat": {"clearcoatTexture": {"index": numbers[1]}}}
    glb.use("KHR_materials_clearcoat")
    rows = [glb.document["images"][glb.document["textures"][n]["source"]] for n in numbers]
    for number, (row, pixels) in enumerate(zip(rows, (shown, further))):
        data = encoded(pixels, kind)
        row.clear()
        if beside:
            row["uri"] = f"{number}.{kind.lower()}"
            (tmp_path / row["uri"]).write_bytes(data)
        else:
            row |= {"bufferView": glb.view(data), "mimeType": f"image/{kind.lower()}"}
    (tmp_path / "in.glb").write_bytes(glb.data())
    (tmp_path / "elsewhere").mkdir()
    out = tmp_path / "elsewhere" / "out.glb"
    assert main(["mesh", "convert", str(tmp_path / "in.glb"), "--out", str(out)]) == 0
    document, binary = gltf_of(out.read_bytes())
    for number, pixels in zip(numbers, (shown, further)):
        row = document["images"][document["textures"][number]["source"]]
        assert row["mimeType"] == "image/png"
        assert "uri" not in row
        view = document["bufferViews"][row["bufferView"]]
        begin = view.get("byteOffset", 0)
        data = binary[begin : begin + view["byteLength"]]
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), pixels)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "BMP"])
def test_a_picture_of_another_kind_than_it_says_is_said_to_be_what_it_becomes(tmp_path, kind):
    glb = cart()
    buffer = io.BytesIO()
    Image.fromarray(np.full((4 * LARGEST, 4 * LARGEST, 3), 90, np.uint8)).save(buffer, kind)
    glb.document["images"][0] = {"bufferView": glb.view(buffer.getvalue()), "mimeType": "image/png"}
    written = exported(tmp_path, glb.data(), "--texture", str(LARGEST))
    (row,), (picture,) = gltf_of(written)[0]["images"], pictures(written)
    assert row["mimeType"] == Image.MIME[Image.open(io.BytesIO(picture)).format]
    assert max(sizes(written)[0]) == LARGEST
