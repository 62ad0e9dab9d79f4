"""Rasteriser, interpolation, texture lookup and antialiasing: each against plain torch in float64,
and against what they are for."""

import math

import numpy as np
import pytest
import torch
import trimesh

from threestudio_like import kernels
from threestudio_like.kernels.reference import raster
from threestudio_like.kernels.samples import sample_triangles
from threestudio_like.renderers import Cameras


def geometry(mesh):
    return torch.tensor(np.array(mesh.vertices), dtype=torch.float32), torch.tensor(
        np.array(mesh.faces), dtype=torch.int32
    )


def bumpy_sphere(subdivisions):
    points, faces = geometry(trimesh.creation.icosphere(subdivisions=subdivisions))
    bumps = 0.1 * torch.sin(5 * points[:, 0]) * torch.cos(4 * points[:, 1]) + 0.05 * torch.sin(
        9 * points[:, 2]
    )
    return 0.8 * points * (1 + bumps)[:, None], faces


def torus(sections):
    return geometry(
        trimesh.creation.torus(0.6, 0.25, major_sections=sections, minor_sections=sections // 2)
    )


def boxes(subdivisions):
    one, two = trimesh.creation.box((1, 0.5, 0.7)), trimesh.creation.box((0.4, 1.2, 0.5))
    two.apply_transform(trimesh.transformations.rotation_matrix(0.5, [1, 1, 0]))
    for _ in range(subdivisions):
        one, two = one.subdivide(), two.subdivide()
    return geometry(trimesh.util.concatenate([one, two]))


def plate(subdivisions):
    box = trimesh.creation.box((1.4, 0.02, 1.0))
    for _ in range(subdivisions):
        box = box.subdivide()
    return geometry(box)


BODIES = {
    "bumpy sphere": [lambda: bumpy_sphere(3), lambda: bumpy_sphere(4), lambda: bumpy_sphere(5)],
    "torus": [lambda: torus(32), lambda: torus(72), lambda: torus(144)],
    "two intersecting boxes": [lambda: boxes(3), lambda: boxes(4), lambda: boxes(5)],
    "thin plate": [lambda: plate(3), lambda: plate(4), lambda: plate(5)],
}


def matrix(azimuth=0.7, elevation=0.4, size=512):
    return Cameras.orbit(
        torch.tensor([azimuth]), torch.tensor([elevation]), 3.0, math.radians(40), size, size
    ).view_projection()[0]


def project(points, view):
    return torch.cat([points, torch.ones(len(points), 1)], 1) @ view.t()


def covered(points, faces, view, size=4096):
    return (
        float(
            (kernels.rasterize(project(points, view), faces, size, size)[..., 3] > 0)
            .double()
            .mean()
        )
        * 512**2
    )


@pytest.mark.parametrize("body", list(BODIES))
@pytest.mark.parametrize("size", [0, 1, 2])
def test_silhouette_gradient_within_three_percent(body, size):
    points, faces = BODIES[body][size]()
    view, table = matrix(), kernels.edge_table(faces)
    scale = torch.ones((), requires_grad=True)
    clip = project(points * scale, view)
    pixels = kernels.rasterize(clip.detach(), faces, 512, 512)
    area = kernels.antialias((pixels[..., 3:] > 0).float(), pixels, clip, table).sum()
    area.backward()
    h = 0.01
    difference = (
        covered(points * (1 + h), faces, view) - covered(points * (1 - h), faces, view)
    ) / (2 * h)
    assert scale.grad.item() == pytest.approx(difference, rel=0.03)
    assert area.item() == pytest.approx(covered(points, faces, view), rel=1e-3)


def test_every_view_of_a_batch_is_the_single_view():
    points, faces = torus(24)
    clip = torch.stack([project(points, matrix(a)) for a in (0.0, 1.0, 2.0)])
    batch = kernels.rasterize(clip, faces, 40, 48)
    assert batch.shape == (3, 40, 48, 4)
    for one, whole in zip(clip, batch):
        assert torch.equal(kernels.rasterize(one, faces, 40, 48), whole)
    attributes = torch.randn(len(points), 3)
    whole = kernels.interpolate(attributes, faces, batch)
    assert torch.equal(whole[1], kernels.interpolate(attributes, faces, batch[1]))


def test_gradient_of_the_weights_in_the_corners_against_finite_differences():
    clip, tri = sample_triangles()
    pixels = kernels.rasterize(clip, tri, 24, 20)
    upstream = torch.randn(
        24, 20, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    upstream[..., 3] = 0
    direction = torch.randn(
        clip.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )

    def value(step):
        out = raster.rasterize(clip.double() + step * direction, tri, 24, 20)
        # Pixels that change their triangle have no derivative.
        return out, torch.where(
            (out[..., 3:] == pixels[..., 3:].double()), out * upstream, torch.zeros_like(out)
        ).sum(-1)

    h = 1e-6
    high, low = value(h)[1], value(-h)[1]
    wanted = ((high - low) / (2 * h))[(value(h)[0][..., 3] == value(-h)[0][..., 3])].sum()
    leaf = clip.clone().requires_grad_()
    (kernels.rasterize(leaf, tri, 24, 20) * upstream.float()).sum().backward()
    assert (leaf.grad.double() * direction).sum().item() == pytest.approx(wanted.item(), rel=1e-3)


def test_interpolation_gradient_reaches_attributes_and_weights():
    clip, tri = sample_triangles()
    attributes = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    upstream = torch.randn(24, 20, 4, generator=torch.Generator().manual_seed(1))
    results = []
    for kind, rasterize, interpolate in (
        (torch.float32, kernels.rasterize, kernels.interpolate),
        (torch.float64, raster.rasterize, raster.interpolate),
    ):
        points, values = (
            clip.clone().to(kind).requires_grad_(),
            attributes.clone().to(kind).requires_grad_(),
        )
        (
            interpolate(values, tri, rasterize(points, tri, 24, 20)) * upstream.to(kind)
        ).sum().backward()
        results.append((points.grad, values.grad))
    for mine, theirs in zip(*results):
        assert torch.allclose(mine.double(), theirs.double(), atol=1e-4 * float(theirs.abs().max()))


def test_both_sides_show_and_what_is_behind_the_camera_does_not():
    points = torch.tensor([[-0.5, -0.5, 0.0], [0.5, -0.5, 0.0], [0.0, 0.5, 0.0]])
    front, back = (
        torch.tensor([[0, 1, 2]], dtype=torch.int32),
        torch.tensor([[0, 2, 1]], dtype=torch.int32),
    )
    view = matrix(0.0, 0.0)
    one, two = (kernels.rasterize(project(points, view), f, 64, 64) for f in (front, back))
    assert torch.equal(one[..., 3] > 0, two[..., 3] > 0)
    assert int((one[..., 3] > 0).sum()) > 100
    behind = points + torch.tensor([0.0, 0.0, 6.0])
    assert not (kernels.rasterize(project(behind, view), front, 64, 64)[..., 3] > 0).any()
    assert len(kernels.silhouette_pairs(project(behind, view), kernels.edge_table(front), one)) == 0


def test_equally_near_triangles_show_the_first_in_both_backends():
    points = torch.tensor([[-0.5, -0.5, 0.0], [0.5, -0.5, 0.0], [0.0, 0.5, 0.0]])
    tri = torch.tensor([[0, 1, 2], [0, 1, 2]], dtype=torch.int32)
    clip = project(points, matrix(0.3, 0.2))
    for rasterize in (kernels.rasterize, raster.rasterize):
        assert set(rasterize(clip, tri, 32, 32)[..., 3].unique().tolist()) == {0.0, 1.0}


def test_edge_table_of_closed_open_and_three_faced_edges():
    _, faces = torus(12)
    table = kernels.edge_table(faces)
    assert len(table) == len(faces) * 3 // 2
    assert bool((table.opposite >= 0).all())
    open_ = kernels.edge_table(faces[:-1])
    assert int((open_.opposite[:, 1] < 0).sum()) == 3
    fan = kernels.edge_table(torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]], dtype=torch.int32))
    rows = [sorted(o) for e, o in zip(fan.edges.tolist(), fan.opposite.tolist()) if e == [0, 1]]
    assert sorted(rows) == [[-1, 4], [2, 3]]
    assert len(kernels.edge_table(torch.zeros(0, 3, dtype=torch.int32))) == 0


def test_antialias_against_the_reference_search():
    points, faces = boxes(2)
    clip, table = project(points, matrix()), kernels.edge_table(faces)
    pixels = kernels.rasterize(clip, faces, 200, 160)
    mine = sorted(map(tuple, kernels.silhouette_pairs(clip, table, pixels).tolist()))
    theirs = raster.silhouette_pairs(clip.double(), table.edges, table.opposite, pixels.double())
    assert mine == sorted(map(tuple, theirs.tolist()))
    assert len(mine) > 200


def test_antialias_gradient_in_the_corners_is_that_of_its_blend():
    points, faces = bumpy_sphere(2)
    clip, table = project(points, matrix()).double(), kernels.edge_table(faces)
    pixels = kernels.rasterize(clip.float(), faces, 64, 64)
    pairs = kernels.silhouette_pairs(clip.float(), table, pixels)
    colour = torch.rand(64, 64, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    upstream = torch.randn(
        64, 64, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    direction = torch.randn(
        clip.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    leaf = clip.clone().requires_grad_()
    (raster.blend(colour, leaf, table.edges, pairs) * upstream).sum().backward()
    h = 1e-7
    high, low = (
        (raster.blend(colour, clip + s * direction, table.edges, pairs) * upstream).sum()
        for s in (h, -h)
    )
    assert (leaf.grad * direction).sum().item() == pytest.approx(
        ((high - low) / (2 * h)).item(), rel=1e-5
    )


def masks(clip, faces, table, size):
    pixels = kernels.rasterize(clip.detach(), faces, size, size)
    return kernels.antialias((pixels[..., 3:] > 0).float(), pixels, clip, table)


def test_descent_recovers_a_camera_from_a_silhouette():
    points, faces = bumpy_sphere(3)
    points = points * torch.tensor([1.0, 0.7, 0.5])
    table = kernels.edge_table(faces)
    cameras = Cameras.orbit(torch.tensor([0.9]), torch.tensor([0.3]), 3.0, math.radians(40), 64, 64)
    target = masks(project(points, cameras.view_projection()[0]), faces, table, 64)
    pose = torch.tensor([0.75, 0.45], requires_grad=True)
    optimiser = torch.optim.Adam([pose], lr=0.02)
    for _ in range(80):
        view = Cameras.orbit(pose[:1], pose[1:], 3.0, math.radians(40), 64, 64).view_projection()[0]
        loss = (masks(project(points, view), faces, table, 64) - target).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert pose.detach().tolist() == pytest.approx([0.9, 0.3], abs=0.01)


def test_descent_recovers_vertex_positions_from_silhouettes():
    truth, faces = bumpy_sphere(2)
    start, _ = geometry(trimesh.creation.icosphere(subdivisions=2))
    normals, table = start.clone(), kernels.edge_table(faces)
    views = [
        matrix(a, e)
        for a, e in (
            (0.0, 0.2),
            (0.8, -0.3),
            (1.6, 0.5),
            (2.4, 0.0),
            (3.2, 0.4),
            (4.0, -0.2),
            (5.0, 0.3),
        )
    ]
    targets = [masks(project(truth, v), faces, table, 64) for v in views]
    offset = torch.zeros(len(start), requires_grad=True)
    optimiser = torch.optim.Adam([offset], lr=0.01)
    edges = table.edges.long()
    for step in range(120):
        points = start * 0.8 + normals * offset[:, None]
        loss = (
            (masks(project(points, views[step % 7]), faces, table, 64) - targets[step % 7])
            .square()
            .sum()
        )
        loss = loss + 20 * (offset[edges[:, 0]] - offset[edges[:, 1]]).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        before = torch.stack(
            [masks(project(start * 0.8, v), faces, table, 64) - t for v, t in zip(views, targets)]
        )
        after = torch.stack(
            [masks(project(points, v), faces, table, 64) - t for v, t in zip(views, targets)]
        )
    assert after.square().sum() < 0.1 * before.square().sum()
    error = (points.detach() - truth).norm(dim=1)
    assert error.mean() < 0.5 * (start * 0.8 - truth).norm(dim=1).mean()


def test_texture_reads_texel_centres_and_its_mip_levels_average():
    texels = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    row, column = 2, 5
    uv = torch.tensor([[(column + 0.5) / 8, 1 - (row + 0.5) / 8]])
    for mode in ("bilinear", "nearest"):
        assert torch.allclose(
            kernels.texture(texels, uv, mode=mode)[0], texels[0, :, row, column], atol=1e-6
        )
    top = kernels.texture(texels, uv, torch.tensor([9.0]))
    assert torch.allclose(top[0], texels[0].mean((1, 2)), atol=1e-6)
    half = kernels.texture(texels, uv, torch.tensor([0.5]))
    whole = kernels.texture(texels, uv, torch.tensor([1.0]))
    assert torch.allclose(half, 0.5 * (whole + kernels.texture(texels, uv)), atol=1e-6)


def test_mip_mapping_keeps_the_mean_of_a_checkerboard_that_is_too_fine_to_see():
    corner = torch.tensor([[-1.0, -1, 0, 1], [1, -1, 0, 1], [1, 1, 0, 1], [-1, 1, 0, 1]])
    tri = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    uv = corner[:, :2] / 2 + 0.5
    board = ((torch.arange(512)[:, None] + torch.arange(512)) % 2).float().view(1, 1, 512, 512)
    pixels = kernels.rasterize(corner[None], tri, 17, 17)
    level = kernels.texture_level(corner[None], tri, uv, pixels, 512)
    assert float(level.mean()) == pytest.approx(math.log2(512 / 17), abs=1e-3)
    look = kernels.interpolate(uv, tri, pixels)
    assert kernels.texture(board, look, level).std() < 1e-3
    assert kernels.texture(board, look).std() > 0.1


def area_average(texels, height, width):
    """Averages of a picture (H, W) over height x width equal areas, by its integral in float64."""

    def along(rows, new):
        whole = np.concatenate([np.zeros((1, rows.shape[1])), rows.cumsum(0)])
        at = np.arange(new + 1) * (len(rows) / new)
        low = np.minimum(np.floor(at).astype(int), len(rows) - 1)
        value = whole[low] + (at - low)[:, None] * (whole[low + 1] - whole[low])
        return np.diff(value, axis=0) * (new / len(rows))

    return along(along(texels, height).T, width).T


@pytest.mark.parametrize("size", [(63, 63), (64, 64), (100, 36), (17, 1), (1, 5), (48, 97)])
def test_every_mip_of_any_size_is_the_average_over_its_area(size):
    texels = torch.rand(1, 2, *size, generator=torch.Generator().manual_seed(0))
    levels = raster.pyramid(texels, 20)
    assert levels[-1].shape[-2:] == (1, 1)
    for number, level in enumerate(levels):
        height, width = (max(1, n >> number) for n in size)
        assert level.shape == (1, 2, height, width)
        for channel in (0, 1):
            wanted = area_average(texels[0, channel].double().numpy(), height, width)
            assert np.abs(level[0, channel].numpy() - wanted).max() < 1e-6
    # A ramp is nowhere shifted: each texel has the value of its own centre, but for the eighth of a
    # texel by which a part of a texel differs from a part of the ramp.
    ramp = (torch.arange(size[1]) + 0.5).expand(1, 1, *size)
    for level in raster.pyramid(ramp, 20):
        wide = level.shape[-1]
        centre = (torch.arange(wide) + 0.5) * size[1] / wide
        assert float((level[0, 0, 0] - centre).abs().max()) <= 0.1251


def test_a_texture_of_odd_size_is_not_shifted_by_its_mips():
    """A ramp over 63 texels has its values at the same places on every level, to an eighth of a
    texel."""
    texels = (torch.arange(63) / 62).expand(1, 1, 63, 63).contiguous()
    uv = torch.tensor([[0.5, 0.5], [0.37, 0.5], [0.63, 0.2]])
    for level in (0.0, 1.0, 2.0, 2.5, 3.0):
        found = kernels.texture(texels, uv, torch.full((3,), level))[:, 0]
        assert torch.allclose(found, (uv[:, 0] * 63 - 0.5) / 62, atol=0.126 / 62)


def test_texture_gradient_goes_to_the_texels_that_were_read():
    texels = torch.zeros(1, 1, 8, 8, requires_grad=True)
    kernels.texture(texels, torch.tensor([[3.5 / 8, 1 - 2.5 / 8]])).sum().backward()
    assert texels.grad.nonzero().tolist() == [[0, 0, 2, 3]]


def card_before_a_wall():
    """A textured mesh of two quads that face +Z, the nearer one above the left half of the atlas,
    and the alpha of its atlas: a hole in the middle of that half."""
    from threestudio_like.meshes.mesh import Asset, Mesh
    from threestudio_like.meshes.texture.atlas import join_atlas
    from threestudio_like.representations.textured_mesh import TexturedMesh

    corner = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]], np.float32)
    half = (corner[:, :2] + 0.5) * np.float32([0.5, 1])
    mesh = Mesh(
        np.concatenate([corner + np.float32([0, 0, 0.4]), corner * 2]),
        np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32),
        uv=np.concatenate([half, half + np.float32([0.5, 0])]),
    )
    start = torch.zeros(3, 32, 32)
    start[0, :, :16], start[1, :, 16:] = 1, 1
    surface = TexturedMesh(join_atlas(Asset({"card": mesh}), 32), 3, start=start)
    alpha = torch.ones(32, 32)
    alpha[8:24, 4:12] = 0
    return surface, alpha


def test_a_hole_of_a_painted_surface_shows_what_lies_behind():
    from threestudio_like.renderers.backgrounds import BackgroundSample
    from threestudio_like.renderers.surface import SurfaceConfig, SurfaceRenderer, visibility

    surface, alpha = card_before_a_wall()
    cameras = Cameras.orbit(torch.zeros(1), torch.zeros(1), 3.0, math.radians(40), 64, 64)
    renderer = SurfaceRenderer(SurfaceConfig(lookup="nearest", mip=False))
    background = BackgroundSample(torch.ones(1, 64, 64, 3))
    whole = renderer.render(surface, cameras, background)
    assert whole.features[0, 32, 32].tolist() == pytest.approx([1, 0, 0])
    hidden = visibility(surface, cameras)[16, 24]
    surface.cut_out(torch.ones(32, 32))
    assert torch.equal(renderer.render(surface, cameras, background).features, whole.features)
    surface.cut_out(alpha)
    assert "alpha" not in surface.state_dict()
    seen = renderer.render(surface, cameras, background)
    assert seen.features[0, 32, 32].tolist() == pytest.approx([0, 1, 0])
    assert torch.equal(seen.opacity, whole.opacity)
    assert seen.depth[0, 32, 32] > whole.depth[0, 32, 32] + 0.3
    changed = (seen.features != whole.features).any(-1).double().mean()
    # A quarter of the card, which is seen at a distance of 2.6.
    wide = 1 / (2.6 * 2 * math.tan(math.radians(20)))
    assert float(changed) == pytest.approx(wide**2 / 4, rel=0.15)
    # The texels behind the hole are painted now, and those of the hole get no gradient.
    assert hidden == 0
    assert visibility(surface, cameras)[16, 24] > 0.9
    seen.features.sum().backward()
    assert surface.texels.grad[0, :, 12:20, 6:10].abs().max() == 0
    assert surface.texels.grad[0, :, 14:18, 22:26].abs().max() > 0
    with pytest.raises(ValueError, match="alpha must be"):
        surface.cut_out(torch.ones(8, 8))


def tiny(scale, shift=0.0):
    corners = torch.tensor([[-1.0, -1, -1], [1, -1, -1], [0, 1, -1], [0, 0, 1]])
    tri = torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]], dtype=torch.int32)
    return corners * scale + torch.tensor([shift, 0.0, 0.0]), tri


@pytest.mark.parametrize(
    ("scale", "shift"), [(1e-4, 0.013), (0.3, 50.0), (40.0, 0.0)], ids=["tiny", "away", "filling"]
)
@pytest.mark.parametrize("kernel", ["auto", "reference"])
def test_shapes_without_a_silhouette_have_a_gradient_of_zero(scale, shift, kernel, monkeypatch):
    monkeypatch.setattr("threestudio_like.kernels.dispatch._choice", kernel)
    start, tri = tiny(scale, shift)
    points = start.clone().requires_grad_()
    if scale > 1:
        # Around the whole picture: one face fills it.
        clip = torch.cat([points[:, :2], points[:, 2:] * 0.001, torch.ones(4, 1)], 1)
    else:
        clip = project(points, matrix(size=32))
    pixels = kernels.rasterize(clip.detach(), tri, 32, 32)
    covered_ = (pixels[..., 3:] > 0).float()
    out = kernels.antialias(covered_, pixels, clip, kernels.edge_table(tri))
    assert torch.equal(out.detach(), covered_)
    (out.sum() + out[0, 0, 0]).backward()
    assert points.grad.abs().max() == 0


@pytest.mark.parametrize("kernel", ["auto", "reference"])
def test_a_mesh_without_faces_has_a_gradient_of_zero_everywhere(kernel, monkeypatch):
    monkeypatch.setattr("threestudio_like.kernels.dispatch._choice", kernel)
    clip = torch.randn(5, 4).requires_grad_()
    values = torch.randn(5, 3).requires_grad_()
    tri = torch.zeros(0, 3, dtype=torch.int32)
    pixels = kernels.rasterize(clip, tri, 8, 9)
    colour = kernels.interpolate(values, tri, pixels)
    out = kernels.antialias(colour, pixels, clip, kernels.edge_table(tri))
    assert torch.equal(out, torch.zeros(8, 9, 3))
    out.sum().backward()
    assert clip.grad.abs().max() == 0
    assert values.grad.abs().max() == 0
