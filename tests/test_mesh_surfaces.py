"""Differentiable surfaces: manifolds of any distances, gradients against differences, volumes and
genera of known shapes, regularisers against their formulae."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from threestudio_like.engine.errors import ConfigError, ExportError
from threestudio_like.kernels import edge_table
from threestudio_like.meshes.mesh import Mesh
from threestudio_like.meshes.surface.extraction import isosurface
from threestudio_like.metrics.solid import creases, handles
from threestudio_like.representations.surfaces import (
    SURFACES,
    FlexiCubes,
    FlexiCubesConfig,
    ShapeConfig,
    Tetrahedra,
    TetrahedraConfig,
    crease_aware_smoothness,
    crease_sparsity,
    dihedral,
    signed_distance,
)
from threestudio_like.representations.surfaces.flexicubes import (
    active_cubes,
    cut_quads,
    dual_quads,
    dual_vertices,
    split_quads,
)
from threestudio_like.representations.surfaces.signed_distance import grid_points, sign_entropy
from threestudio_like.representations.surfaces.tables import (
    dual_table,
    edge_corners,
    face_corners,
    tetrahedron_table,
)
from threestudio_like.representations.surfaces.tetrahedra import (
    marching_tetrahedra,
    tetrahedral_grid,
)


def made(kind, size):
    if kind == "flexicubes":
        return FlexiCubes(FlexiCubesConfig(size=size))
    return Tetrahedra(TetrahedraConfig(size=size))


def links_are_circles(mesh: Mesh) -> bool:
    """Whether the faces around every vertex are one closed fan."""
    after: dict[int, dict[int, int]] = {}
    for face in mesh.faces.tolist():
        for k in range(3):
            after.setdefault(face[k], {})[face[(k + 1) % 3]] = face[(k + 2) % 3]
    for fan in after.values():
        start = at = next(iter(fan))
        for _ in range(len(fan)):
            if at not in fan:
                return False
            at = fan[at]
            if at == start:
                break
        seen, at = 1, fan[start]
        while at != start:
            seen, at = seen + 1, fan[at]
        if seen != len(fan):
            return False
    return True


def edge_counts(mesh: Mesh) -> tuple[set[int], set[int]]:
    """How many faces the edges have, and how many the directed ones."""
    directed = np.concatenate([mesh.faces[:, [k, (k + 1) % 3]] for k in range(3)])
    either = np.unique(np.sort(directed, 1), axis=0, return_counts=True)[1]
    one_way = np.unique(directed, axis=0, return_counts=True)[1]
    return set(either.tolist()), set(one_way.tolist())


@pytest.mark.parametrize("kind", ["flexicubes", "tetrahedra"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_any_distances_make_a_closed_manifold(kind, seed):
    """Noise has every configuration of a cube, ambiguous ones beside each other too."""
    surface = made(kind, 9)
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in surface.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=noise))
    mesh = surface.mesh()
    assert edge_counts(mesh) == ({2}, {1})
    assert links_are_circles(mesh)
    assert mesh.volume > 0
    drawn = surface.surface().detached()
    assert edge_counts(drawn) == ({2}, {1})


def test_without_the_second_cut_noise_makes_no_manifold(monkeypatch):
    """So that the test above would notice."""
    from threestudio_like.representations.surfaces import flexicubes

    monkeypatch.setattr(
        flexicubes, "flipped_cubes", lambda active, code, size: torch.zeros(len(active)).bool()
    )
    surface = made("flexicubes", 16)
    with torch.no_grad():
        surface.sdf.copy_(
            torch.randn(surface.sdf.shape, generator=torch.Generator().manual_seed(0))
        )
    assert edge_counts(surface.mesh())[0] != {2}


def test_the_tables_follow_their_rules():
    table, ends = dual_table(), edge_corners()
    for code in range(256):
        inside = np.array([code >> c & 1 for c in range(8)], bool)
        crossed = inside[ends[:, 0]] != inside[ends[:, 1]]
        for flip in range(2 if table.joined[code] >= 0 else 1):
            assert ((table.patch[code, flip] >= 0) == crossed).all()
            sizes = np.bincount(table.patch[code, flip][crossed], minlength=1)
            assert table.count[code, flip] == (len(sizes) if crossed.any() else 0)
            assert not crossed.any() or sizes.min() >= 3
        if table.joined[code] >= 0:
            # The other cut makes two patches of one.
            assert table.count[code, 1] == table.count[code, 0] + 1
            corners = face_corners()[table.joined[code]]
            assert inside[corners].tolist() in ([True, False] * 2, [False, True] * 2)
    assert (tetrahedron_table()[[0, 15]] == -1).all()


def test_tetrahedra_fill_the_space_once():
    points, tets = tetrahedral_grid(4)
    corner = points[tets.long()].double()
    edges = corner[:, 1:] - corner[:, :1]
    volumes = torch.linalg.det(edges) / 6
    # Equal ones, of positive volume, that fill all but the border's half cells.
    assert torch.allclose(volumes, volumes[0].expand_as(volumes))
    assert float(volumes[0]) > 0
    assert float(volumes.sum()) == pytest.approx(4 * 4 * 3 * 3 * (2 / 4) ** 3 / 3, rel=1e-6)


@pytest.mark.parametrize("argument", ["points", "sdf", "alpha", "beta", "gamma"])
def test_gradients_of_flexicubes_are_differences(argument):
    size = 3
    noise = torch.Generator().manual_seed(3)
    points = grid_points(size).double()
    moved = points + 0.1 * torch.rand(points.shape, generator=noise, dtype=torch.double)
    sdf = points.norm(dim=-1) - 0.6
    sdf = sdf + 0.2 * (torch.rand(sdf.shape, generator=noise, dtype=torch.double) - 0.5)
    sdf = torch.where((points.abs() > 0.99).any(-1), sdf.abs() + 0.1, sdf)
    sdf = torch.where(sdf.abs() < 0.02, torch.full_like(sdf, 0.02), sdf)
    active, code = active_cubes(sdf, size)
    given = {
        "points": moved,
        "sdf": sdf,
        "alpha": 0.5 + torch.rand(len(active), 8, generator=noise, dtype=torch.double),
        "beta": 0.5 + torch.rand(len(active), 12, generator=noise, dtype=torch.double),
    }
    count = len(dual_vertices(**given, active=active, code=code, size=size).points)
    given["gamma"] = 0.2 + torch.rand(count, generator=noise, dtype=torch.double)

    def drawn(value):
        own = {**given, argument: value}
        gamma = own.pop("gamma")
        dual = dual_vertices(**own, active=active, code=code, size=size)
        quads = dual_quads(dual, own["sdf"], size)
        return split_quads(dual.points, quads, gamma)[0], dual.deviation

    value = given[argument].clone().requires_grad_()
    assert torch.autograd.gradcheck(drawn, (value,), eps=1e-6, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("argument", [0, 1])
def test_gradients_of_marching_tetrahedra_are_differences(argument):
    points, tets = tetrahedral_grid(3)
    noise = torch.Generator().manual_seed(1)
    points = points.double()
    sdf = points.norm(dim=-1) - 0.5
    sdf = sdf + 0.1 * torch.rand(sdf.shape, generator=noise, dtype=torch.double)
    sdf = torch.where(sdf.abs() < 0.02, torch.full_like(sdf, 0.02), sdf)
    given = [points, sdf]

    def drawn(value):
        own = [*given]
        own[argument] = value
        return marching_tetrahedra(own[0], own[1], tets)[0]

    value = given[argument].clone().requires_grad_()
    assert torch.autograd.gradcheck(drawn, (value,), eps=1e-6, atol=1e-6, rtol=1e-5)


def test_a_quad_is_cut_where_gamma_is_larger():
    quads = torch.tensor([[0, 1, 2, 3]])
    one = cut_quads(quads, torch.tensor([2.0, 1.0, 2.0, 1.0]))
    assert {0, 2} <= set(one[0].tolist()) & set(one[1].tolist())
    two = cut_quads(quads, torch.tensor([1.0, 2.0, 1.0, 2.0]))
    assert {1, 3} <= set(two[0].tolist()) & set(two[1].tolist())
    square = torch.tensor([[0.0, 0, 0], [1, 0, 1], [1, 1, 0], [0, 1, 1]])
    points, tri = split_quads(square, quads, torch.tensor([2.0, 1.0, 2.0, 1.0]))
    # The products are 4 and 1: four fifths of the one diagonal's middle, at height 0.
    assert points[4].tolist() == pytest.approx([0.5, 0.5, 0.2])
    assert len(tri) == 4


def shapes():
    points = grid_points(80).numpy().astype(np.float64)

    def mesh(distance):
        return isosurface(-distance.reshape(81, 81, 81).astype(np.float32), 0.0)

    away = np.linalg.norm(points, axis=1)
    ring = np.hypot(np.hypot(points[:, 0], points[:, 1]) - 0.55, points[:, 2])
    return {
        "sphere": (mesh(away - 0.7), [0]),
        "cube": (mesh(np.abs(points).max(1) - 0.523), [0]),
        "torus": (mesh(ring - 0.21), [1]),
        "two": (mesh(np.minimum(away - 0.3, np.abs(points - 0.7).max(1) - 0.15)), [0, 0]),
    }


@pytest.mark.parametrize("kind", ["flexicubes", "tetrahedra"])
@pytest.mark.parametrize("name", ["sphere", "cube", "torus", "two"])
def test_a_surface_begins_with_a_mesh_and_keeps_its_volume(kind, name):
    mesh, genera = shapes()[name]
    surface = made(kind, 24)
    surface.begin(mesh)
    found = surface.mesh()
    assert found.volume == pytest.approx(mesh.volume, rel=1e-3)
    assert edge_counts(found) == ({2}, {1})
    assert sorted(handles(found)) == sorted(genera)
    cell = 2 / 24
    away = signed_distance(mesh, torch.from_numpy(found.vertices), 2 / 80)
    assert float(away.abs().max()) < cell
    assert float(away.abs().mean()) < 0.15 * cell


def test_signed_distances_are_exact_near_the_surface():
    mesh = shapes()["torus"][0]
    points = grid_points(20)
    found = signed_distance(mesh, points, 0.1)
    ring = torch.hypot(torch.hypot(points[:, 0], points[:, 1]) - 0.55, points[:, 2])
    true = ring - 0.21
    near = true.abs() < 0.1
    # The mesh is flat between its vertices: h^2 / 8 times the curvature.
    assert float((found - true)[near].abs().max()) < 0.025**2 / 8 / 0.21 * 3
    assert ((found < 0) == (true < 0)).all()
    assert (found[~near].abs() >= 0.1 - 1e-3).all()


def test_what_is_thinner_than_a_cell_is_refused():
    flake = isosurface(
        -(np.abs(grid_points(80).numpy() - [0.031, 0, 0]) @ np.diag([60, 2, 2]))
        .max(1)
        .reshape(81, 81, 81)
        .astype(np.float32)
        + 1,
        0.0,
    )
    with pytest.raises(ExportError, match="thinner"):
        made("flexicubes", 8).begin(flake)


def box_fan(angle):
    """Two unit triangles that share an edge, folded by `angle` degrees."""
    turn = math.radians(angle)
    points = torch.tensor(
        [[0, 0, 0], [0, 1, 0], [1, 0, 0], [-math.cos(turn), 0, -math.sin(turn)]], dtype=torch.double
    )
    tri = torch.tensor([[0, 2, 1], [0, 1, 3]])
    return points, tri, edge_table(tri)


@pytest.mark.parametrize("angle", [0.0, 5.0, 20.0, 90.0])
def test_crease_sparsity_is_its_formula(angle):
    points, tri, table = box_fan(angle)
    turn, length, _ = dihedral(points, tri, table)
    assert float(turn) == pytest.approx(1 - math.cos(math.radians(angle)), abs=1e-12)
    assert float(length) == pytest.approx(1.0)
    q, half = float(turn), 1 - math.cos(math.radians(20))
    found = float(crease_sparsity(points, tri, table, 20.0))
    assert found == pytest.approx(q / (q + half), rel=1e-6, abs=1e-9)


def test_crease_sparsity_flattens_small_angles_and_leaves_large_ones():
    slopes = []
    for angle in (4.0, 80.0):
        points, tri, table = box_fan(angle)
        points.requires_grad_()
        crease_sparsity(points, tri, table, 10.0).backward()
        slopes.append(float(points.grad.norm()))
    assert slopes[0] > 20 * slopes[1]
    points, tri, table = box_fan(7.0)
    points = points.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p: crease_sparsity(p, tri, table, 20.0), (points,), atol=1e-6
    )
    with pytest.raises(ValueError, match="positive"):
        crease_sparsity(points, tri, table, 0.0)


def test_smoothing_leaves_creases_alone():
    mesh = shapes()["cube"][0]
    tri = torch.from_numpy(mesh.faces).long()
    points = torch.from_numpy(mesh.vertices).double().requires_grad_()
    table = edge_table(tri)
    crease_aware_smoothness(points, tri, table).backward()
    pull = points.grad.norm(dim=1)
    # A vertex of an edge is pulled inwards by its own umbrella, but hardly.
    noisy = points.detach().clone()
    flat = (points.detach().abs() > 0.45).sum(1) == 1
    edge = ~flat
    noisy[flat] += 0.002 * torch.randn(
        noisy[flat].shape, generator=torch.Generator().manual_seed(0), dtype=torch.double
    )
    noisy.requires_grad_()
    crease_aware_smoothness(noisy, tri, table).backward()
    assert float(noisy.grad[flat].norm(dim=1).mean()) > 2 * float(pull[edge].mean())


def test_sign_entropy_is_its_formula():
    sdf = torch.tensor([-1.0, 2.0, 3.0], dtype=torch.double)
    edges = torch.tensor([[0, 1]])
    wanted = math.log(1 + math.exp(1.0)) + math.log(1 + math.exp(2.0))
    assert float(sign_entropy(sdf, edges)) == pytest.approx(wanted)
    assert float(sign_entropy(sdf, edges[:0])) == 0


def test_a_kind_is_one_file(monkeypatch):
    assert {"flexicubes", "tetrahedra"} <= set(SURFACES.names())
    assert isinstance(ShapeConfig(kind="dmtet").build(), Tetrahedra)
    with pytest.raises(ConfigError, match="flexicubs"):
        ShapeConfig(kind="flexicubs")


@pytest.mark.parametrize("kind", ["flexicubes", "tetrahedra"])
def test_sharp_edges_are_fitted_to_their_distances(kind):
    """A turned cube by the distances of surface points: dual vertices find the edges."""
    mesh = shapes()["cube"][0]
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(4)))[0]
    surface = made(kind, 16)
    turned = Mesh((mesh.vertices @ turn.numpy()).astype(np.float32), mesh.faces)
    if turned.volume < 0:
        turned = Mesh(turned.vertices, np.ascontiguousarray(turned.faces[:, ::-1]))
    surface.begin(turned)

    def loss():
        found = surface.surface()
        own = found.points @ turn.t()
        off = (own.abs().amax(1) - 0.523).abs().mean()
        return off + sum(surface.mesh_terms(found, {"deviation": 0.02}).values())

    begun = creases(surface.mesh(), turned)[0]
    optimiser = torch.optim.Adam(surface.parameter_groups())
    first = float(loss().detach())
    for _ in range(80):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    assert float(loss().detach()) < 0.3 * first
    if kind == "flexicubes":
        assert creases(surface.mesh(), turned)[0] > max(0.6, begun)
