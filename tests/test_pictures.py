"""Pictures honour materials: colours are multiplied, textures wrapped and filtered, what is cut out
shows what lies behind, what is blended lies on it, what glows adds to the light."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from threestudio_like import kernels
from threestudio_like.kernels.reference import raster
from threestudio_like.meshes.io.images import to_display, to_linear
from threestudio_like.meshes.material import Material, Sampler
from threestudio_like.meshes.mesh import Asset, Mesh
from threestudio_like.meshes.picture import LAYERS, Appearance, render_asset, render_mesh

SIZE = 64
FRONT = np.diag([1.0, 1.0, -0.25, 1.0]).astype(np.float32)[None]
"""An orthographic camera on +Z: the picture shows x and y in [-1, 1]."""
GREEN, RED = np.array([51, 153, 51]) / 255, np.array([1.0, 0.0, 0.0])


def quad(z: float = 0.0, half: float = 0.8, material: Material | None = None, **facts) -> Mesh:
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
    points = corners * half + np.float32([0, 0, z])
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    return Mesh(points, faces, uv=corners[:, :2] / 2 + 0.5, material=material, **facts)


def turned(mesh: Mesh, degrees: float) -> Mesh:
    a = np.radians(degrees)
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    return replace(mesh, vertices=(mesh.vertices @ about_y.T).astype(np.float32))


def leaf(texels: int = 32) -> np.ndarray:
    """A green card (texels, texels, 4) with a round hole of half its width."""
    place = (np.arange(texels) + 0.5) / texels - 0.5
    picture = np.full((texels, texels, 4), (51, 153, 51, 255), np.uint8)
    picture[np.hypot(place[:, None], place[None]) < 0.25, 3] = 0
    return picture


def drawn(asset: Asset, **options) -> tuple[np.ndarray, np.ndarray]:
    picture = render_asset(asset, FRONT, SIZE, supersample=1, **options)
    return picture.image[0], picture.mask[0]


def centres() -> tuple[np.ndarray, np.ndarray]:
    x = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    return np.meshgrid(x, -x)


def test_two_crossed_leaf_cards_with_a_hole_in_front_of_a_red_quad():
    material = Material(alpha_mode="MASK", sampler=Sampler("clamp", "clamp", nearest=True))
    card = quad(material=material, texture=leaf())
    cards = {"one": turned(card, 40), "two": turned(card, -40)}
    wall = quad(-1.0, 0.9, Material(colour=(*RED, 1.0)))
    image, mask = drawn(Asset({**cards, "wall": wall}))
    # A card at an angle a is met at u = x / cos a, z = -x tan a; the nearer of the two first.
    x, y = centres()
    across, opaque = x / np.cos(np.radians(40)), leaf()[..., 3] > 0
    on_card = (np.abs(across) < 0.8) & (np.abs(y) < 0.8)
    hit = np.zeros((SIZE, SIZE), bool)
    for u in (across, -across):
        column = np.clip(((u / 0.8 + 1) / 2 * 32).astype(int), 0, 31)
        row = np.clip(((1 - y / 0.8) / 2 * 32).astype(int), 0, 31)
        hit |= on_card & opaque[row, column]
    wall_there = np.maximum(np.abs(x), np.abs(y)) < 0.9
    wanted = np.where(hit[..., None], GREEN, np.where(wall_there[..., None], RED, 1.0))
    # No centre of a pixel lies on the border of a texel.
    assert np.abs(image - wanted).max() < 1e-6
    assert np.array_equal(mask > 0.5, hit | wall_there)
    assert np.array_equal(image[SIZE // 2, SIZE // 2], RED)
    alone, mask = drawn(Asset(cards))
    assert np.array_equal(mask > 0.5, hit)
    assert (alone[SIZE // 2, SIZE // 2] == 1).all()
    # Clay has the same outline.
    assert np.array_equal(drawn(Asset(cards), clay=True)[1] > 0.5, hit)
    opaque_cards = {k: replace(m, material=Material()) for k, m in cards.items()}
    assert np.array_equal(drawn(Asset(opaque_cards))[1] > 0.5, on_card)


def test_glass_is_blended_back_to_front_whatever_the_order_of_the_parts():
    panes = [(0.5, (0.0, 0.0, 1.0, 0.25)), (0.0, (0.0, 1.0, 0.0, 0.5))]
    parts = {
        f"pane {z}": quad(z, material=Material(colour=colour, alpha_mode="BLEND"))
        for z, colour in panes
    }
    parts["wall"] = quad(-0.5, 0.4, Material(colour=(*RED, 1.0)))
    results = [
        drawn(Asset({k: parts[k] for k in order}), background=1.0)
        for order in (list(parts), list(parts)[::-1])
    ]
    assert np.array_equal(results[0][0], results[1][0])
    image, mask = results[0]
    blue, green = np.array([0, 0, 1.0]), np.array([0, 1.0, 0])
    before_wall = 0.25 * blue + 0.75 * (0.5 * green + 0.5 * RED)
    beside_it = 0.25 * blue + 0.75 * (0.5 * green + 0.5 * 1.0)
    assert np.allclose(image[SIZE // 2, SIZE // 2], before_wall, atol=1e-6)
    assert np.allclose(image[12, 12], beside_it, atol=1e-6)
    assert mask[SIZE // 2, SIZE // 2] == 1
    assert mask[12, 12] == pytest.approx(1 - 0.75 * 0.5)
    assert mask[0, 0] == 0
    # The diagonal of the quad, where two triangles meet on the centres of pixels, is one layer.
    assert np.ptp(image[22:42, 22:42].reshape(-1, 3), 0).max() < 1e-6
    clay = drawn(Asset({k: parts[k] for k in list(parts)[:1]}), clay=True)[1]
    assert set(np.unique(clay)) == {0, 1}


def test_no_more_layers_than_the_limit():
    glass = Material(colour=(0.0, 0.0, 0.0, 0.5), alpha_mode="BLEND")
    many = {str(n): quad(n / 10, material=glass) for n in range(LAYERS + 3)}
    mask = drawn(Asset(many))[1]
    assert mask[SIZE // 2, SIZE // 2] == pytest.approx(1 - 0.5**LAYERS)


def test_colours_of_vertices_texture_and_material_are_multiplied():
    colours = np.tile(np.array([0.5, 1.0, 0.25, 0.5], np.float32), (4, 1))
    texture = np.full((4, 4, 4), (204, 102, 255, 204), np.uint8)
    material = Material(colour=(1.0, 0.5, 0.5, 0.5), alpha_mode="BLEND")
    whole = quad(colours=colours, texture=texture, material=material)
    rgb = np.array([0.8 * 0.5, 0.4 * 0.5, 0.25 * 0.5])
    alpha = 0.8 * 0.5 * 0.5
    image, mask = drawn(Asset({"a": whole}), background=1.0)
    middle = SIZE // 2
    assert np.allclose(image[middle, middle], alpha * rgb + 1 - alpha, atol=1e-6)
    assert mask[middle, middle] == pytest.approx(alpha, abs=1e-6)
    solid = replace(whole, material=replace(material, alpha_mode="OPAQUE"))
    image, mask = drawn(Asset({"a": solid}))
    assert np.allclose(image[middle, middle], rgb, atol=1e-6)
    assert mask[middle, middle] == 1
    # Below the cutoff nothing is drawn.
    masked = replace(whole, material=replace(material, alpha_mode="MASK", alpha_cutoff=0.3))
    assert drawn(Asset({"a": masked}))[1].max() == 0
    masked = replace(whole, material=replace(material, alpha_mode="MASK", alpha_cutoff=0.1))
    assert drawn(Asset({"a": masked}))[1][middle, middle] == 1


@pytest.mark.parametrize(
    ("wrap", "wanted"),
    [
        ("repeat", [0, 1, 0, 1, 0, 1]),
        ("clamp", [0, 0, 0, 1, 1, 1]),
        ("mirror", [1, 0, 0, 1, 1, 0]),
    ],
)
def test_a_texture_is_wrapped_and_filtered_as_its_sampler_says(wrap, wanted):
    black_white = np.zeros((1, 2, 3), np.uint8)
    black_white[0, 1] = 255
    for along in (0, 1):
        texture = black_white if along == 0 else black_white.transpose(1, 0, 2)[::-1]
        for nearest in (True, False):
            sampler = Sampler(*((wrap, "clamp") if along == 0 else ("clamp", wrap)), nearest)
            look = Appearance(quad(texture=texture, material=Material(sampler=sampler)))
            # The centres of the texels of three periods.
            place = torch.arange(-0.75, 2, 0.5)
            other = torch.full_like(place, 0.5)
            uv = torch.stack([place, other] if along == 0 else [other, place], 1)
            assert look.colour(uv)[:, 0].tolist() == pytest.approx(wanted, abs=1e-5)
            between = look.colour(torch.full((1, 2), 0.49))[0, 0]
            assert between == pytest.approx(0.0 if nearest else 0.48, abs=1e-5)


def test_what_glows_is_added_to_the_light_and_what_is_unlit_ignores_it():
    def light(normals):
        return torch.full_like(normals[..., :1], 0.5)

    grey = Material(colour=(0.4, 0.4, 0.4, 1.0))
    middle = (SIZE // 2, SIZE // 2)
    cases = {
        "lit": (grey, 0.2),
        "unlit": (replace(grey, unlit=True), 0.4),
        "glows": (replace(grey, emission=(0.1, 0.1, 0.1)), 0.2 + to_display(np.array(0.1))),
        "strong": (replace(grey, emission=(9.0, 9.0, 9.0)), 1.0),
    }
    for name, (material, wanted) in cases.items():
        image = drawn(Asset({"a": quad(material=material)}), light=light)[0]
        assert image[middle] == pytest.approx([wanted] * 3, abs=1e-6), name
        assert drawn(Asset({"a": quad(material=material)}))[0][middle] == pytest.approx([0.4] * 3)
    pattern = np.full((2, 2, 3), 102, np.uint8)
    mapped = quad(material=replace(grey, emission=(0.5, 0.5, 0.5), emissive_map=pattern))
    wanted = 0.2 + to_display(0.5 * to_linear(np.array(0.4)))
    assert drawn(Asset({"a": mapped}), light=light)[0][middle] == pytest.approx([wanted] * 3)


def test_an_opaque_material_is_drawn_as_ever_with_whatever_alpha_its_texture_has():
    """The same bytes: no layer is peeled."""
    plain = quad(texture=leaf()[..., :3], material=Material())
    for material in (Material(), Material(alpha_mode="MASK"), Material(alpha_mode="BLEND")):
        full = leaf()
        if material.alpha_mode != "OPAQUE":
            full[..., 3] = 255
        other = quad(texture=full, material=material)
        one, two = render_mesh(plain, FRONT, SIZE), render_mesh(other, FRONT, SIZE)
        assert np.array_equal(one.image, two.image)
        assert np.array_equal(one.mask, two.mask)


def test_layers_come_from_front_to_back_in_both_rasterisers():
    depths = torch.tensor([0.3, -0.2, 0.6, -0.7])
    corners = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    clip = torch.cat(
        [torch.cat([corners, torch.full((4, 1), float(z)), torch.ones(4, 1)], 1) for z in depths]
    )
    one = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    tri = torch.cat([one + 4 * n for n in range(4)])
    for peel in (None, raster.peel):
        pixels, seen = kernels.rasterize(clip, tri, 16, 16), []
        for _ in range(4):
            seen.append(pixels[..., 2].unique().tolist())
            beyond = kernels.behind(pixels, pixels[..., 3] > 0)
            pixels = (
                kernels.rasterize(clip, tri, 16, 16, beyond)
                if peel is None
                else peel(clip[None], tri, 16, 16, beyond[None])[0]
            )
        assert [s[0] for s in seen] == pytest.approx(sorted(depths.tolist()))
        assert [len(s) for s in seen] == [1] * 4
        assert not (pixels[..., 3] > 0).any()
    with pytest.raises(ValueError, match="beyond"):
        kernels.rasterize(clip, tri, 16, 16, torch.zeros(8, 8))
    # Only where one sees through is anything behind it drawn.
    pixels = kernels.rasterize(clip, tri, 16, 16)
    through = torch.zeros(16, 16, dtype=torch.bool)
    through[3, 5] = True
    again = kernels.rasterize(clip, tri, 16, 16, kernels.behind(pixels, through))
    assert (again[..., 3] > 0).nonzero().tolist() == [[3, 5]]


def coloured_ball() -> Asset:
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=2)
    points = np.array(ball.vertices, np.float32) * [1, 2, 1] * 700 + [4000, 0, 0]
    colours = (np.array(ball.vertices, np.float32) + 1) / 2
    return Asset(
        {"ball": Mesh(points.astype(np.float32), ball.faces.astype(np.int32), colours=colours)}
    )


def test_a_transparent_turntable_is_read_back_with_its_frames_and_alpha(tmp_path):
    from PIL import Image

    from threestudio_like.cli import main

    source = coloured_ball().save(tmp_path / "ball.glb")
    film = ["--turntable", "--transparent", "--size", "50", "--fps", "10", "--seconds", "0.8"]
    assert main(["export", str(source), *film]) == 0
    with Image.open(tmp_path / "ball-turntable.webp") as image:
        assert (image.n_frames, image.size) == (8, (50, 50))
        durations, frames = [], []
        for number in range(image.n_frames):
            image.seek(number)
            frames.append(np.asarray(image.convert("RGBA")))
            durations.append(image.info["duration"])
    assert durations == [100] * 8
    for frame in frames:
        alpha = frame[..., 3]
        assert alpha[0, 0] == 0
        assert alpha[25, 25] == 255
        rows = np.flatnonzero((alpha > 128).any(1))
        # It fits, whatever its size, and fills the picture.
        assert 1 <= rows[0] <= 6
        assert 42 <= rows[-1] <= 48
    assert len({frame.tobytes() for frame in frames}) == 8
    # Straight alpha: the border of the ball is no darker than the ball.
    inside, border = alpha == 255, (alpha > 40) & (alpha < 200)
    assert frame[border][:, :3].max(1).mean() > 0.6 * frame[inside][:, :3].max(1).mean()


def test_a_turntable_as_a_video_is_read_back(tmp_path):
    import imageio.v2 as imageio

    from threestudio_like.cli import main

    source = coloured_ball().save(tmp_path / "ball.glb")
    film = ["--turntable", "--size", "72", "--fps", "10", "--seconds", "0.5", "--to", "ply"]
    out = tmp_path / "films"
    assert main(["export", str(source), *film, "--out", str(out)]) == 0
    assert {p.name for p in out.iterdir()} == {"ball.ply", "ball-turntable.mp4"}
    with imageio.get_reader(out / "ball-turntable.mp4") as video:
        frames = [np.asarray(frame) for frame in video]
        assert video.get_meta_data()["fps"] == 10
    assert len(frames) == 5
    assert frames[0].shape == (72, 72, 3)
    assert frames[0][0, 0].min() > 235
    assert np.ptp(frames[0].astype(int), axis=(0, 1)).min() > 60


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--turntable", "--size", "51"], "must be even"),
        (["--turntable", "--size", "8"], "from 16 to 4096"),
        (["--turntable", "--fps", "nan"], "--fps: must be a finite number"),
        (["--turntable", "--fps", "121"], "from 1 to 120"),
        (["--turntable", "--fps", "100", "--seconds", "100"], "at most"),
        (["--transparent"], "Add --turntable"),
    ],
)
def test_a_turntable_that_cannot_be_made_is_refused_in_one_line(tmp_path, capsys, arguments, said):
    from threestudio_like.cli import main

    source = coloured_ball().save(tmp_path / "ball.glb")
    assert main(["export", str(source), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["ball.glb"]


def test_a_turntable_of_something_without_colours_is_lit(tmp_path):
    from io import BytesIO

    from PIL import Image

    from threestudio_like.reports import Film, film

    how = Film(size=48, fps=2, seconds=1, transparent=True)
    ball = coloured_ball().meshes["ball"]
    plain = replace(ball, colours=None, material=Material(colour=(0.5, 0.5, 0.5, 1.0)))
    with Image.open(BytesIO(film(Asset({"ball": plain}), how))) as image:
        frame = np.asarray(image.convert("RGBA")).astype(int)
    assert np.ptp(frame[frame[..., 3] == 255][:, 0]) > 30


def test_a_written_file_is_compared_with_its_holes_where_it_can_keep_them(tmp_path):
    from threestudio_like.meshes.verification import verify

    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32) - 0.3
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    uv = np.array([[0.5, 0.5], [0, 0], [1, 0], [0.5, 1]], np.float32)
    material = Material(alpha_mode="MASK", double_sided=True)
    body = Mesh(points, faces, uv=uv, texture=leaf(), material=material)
    asset, solid = Asset({"a": body}), Asset({"a": replace(body, texture=leaf()[..., :3])})
    view = FRONT @ np.linalg.inv(
        np.array([[1, 0, 0.3, 0], [0, 1, 0.2, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    )
    assert verify(asset.save(tmp_path / "cut.glb"), asset, view).passed
    assert verify(asset.save(tmp_path / "cut.stl"), asset, view).passed
    # A card in place of the leaf is noticed.
    assert not verify(solid.save(tmp_path / "solid.glb"), asset, view).passed
