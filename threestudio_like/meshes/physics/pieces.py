"""Convex pieces of an object, as solvers of rigid bodies want them.

A part that is convex already is its own hull, exactly. Others are cut by CoACD (Wei et al. 2022;
extra `physics`); where that is not installed each gets one convex hull, which fills its hollows,
and that is told.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ...engine.errors import ConfigError
from ..extras import load
from ..mesh import Mesh, join
from .hull import convex_hull
from .mass import is_closed, welded, welded_places

CONVEX = 0.97
"""A closed part that fills this share of its hull counts as convex."""
MOST_PARTS = 64
"""Separate parts that get pieces of their own, the largest; crumbs are left out, and told."""
FEW_FACES = 3_000
"""Faces of a part when it is cut."""
PINHOLE = 256
"""Border edges of a hole that is closed before a part is cut."""
SEARCH = {"mcts_nodes": 8, "mcts_iterations": 30, "mcts_max_depth": 2, "resolution": 1000}
"""How hard CoACD looks for good cuts: about a fifteenth of the work of its own defaults."""
WAYS = ("auto", "coacd", "hull")


@dataclass
class Pieces:
    """pieces: closed convex meshes in the object's frame. filled: the share of their volume that
    the object does not fill, where that is known (hollows closed by a hull), else 0. told: lines
    for the user."""

    pieces: list[Mesh]
    filled: float = 0.0
    told: list[str] = field(default_factory=list)


def check_way(way: str) -> None:
    """Raise ConfigError where there is no such way, or CoACD is asked for and not installed."""
    if way not in WAYS:
        raise ConfigError(
            f'"{way}" is no way to make convex pieces', "--pieces", f"Known: {', '.join(WAYS)}"
        )
    if way == "coacd" and not has_coacd():
        raise ConfigError(
            "CoACD is not installed",
            "--pieces coacd",
            "Install it with: pip install '.[physics]' in the checkout, or take --pieces hull",
        )


def has_coacd() -> bool:
    """Whether CoACD can be imported."""
    return importlib.util.find_spec("coacd") is not None


def convex_pieces(meshes: list[Mesh], way: str = "auto", threshold: float = 0.05) -> Pieces:
    """The convex pieces of an object.

    Args:
        way: "auto" (CoACD where it is installed), "coacd" or "hull".
        threshold: the concavity that CoACD leaves, as a share of a part's size; 0.01 to 1.

    Raises:
        ConfigError: see `check_way`.
    """
    check_way(way)
    cut = way == "coacd" or (way == "auto" and has_coacd())
    whole = join(meshes)
    parts, crumbs = _parts(whole)
    out = Pieces([])
    thick = hollow = 0
    own = shell = 0.0
    for part in parts:
        hull, thickened = convex_hull(part.vertices)
        thick += thickened
        volume = abs(part.volume) if is_closed(part) else float("nan")
        if thickened or volume >= CONVEX * hull.volume:
            out.pieces.append(hull)
            continue
        if cut:
            out.pieces += _cut(part, threshold)
            continue
        hollow += 1
        out.pieces.append(hull)
        if np.isfinite(volume):
            own, shell = own + volume, shell + hull.volume
    if crumbs:
        out.told.append(f"{crumbs} small loose parts of it have no convex piece")
    if thick:
        out.told.append(f"{thick} flat parts of it were given a thickness")
    if hollow:
        out.filled = 1 - own / shell if shell > 0 else 0.0
        share = f", which fill {out.filled:.0%} more than there is" if shell > 0 else ""
        parts_said = "a part that is" if hollow == 1 else f"{hollow} parts that are"
        why = "" if way == "hull" else " (CoACD would cut them: pip install '.[physics]')"
        out.told.append(f"{parts_said} not convex got one convex hull each{share}{why}")
    return out


def _parts(mesh: Mesh) -> tuple[list[Mesh], int]:
    """The connected parts of a mesh, the largest first, and how many crumbs were left out."""
    size = max(float(np.ptp(mesh.vertices, axis=0).max()), 1e-30)
    places = welded_places(mesh)
    graph = coo_matrix(
        (
            np.ones(2 * len(mesh.faces)),
            (np.tile(places[mesh.faces[:, 0]], 2), places[mesh.faces[:, 1:]].T.reshape(-1)),
        ),
        shape=(len(mesh.vertices),) * 2,
    )
    label = connected_components(graph, directed=False)[1][places[mesh.faces[:, 0]]]
    number = np.unique(label, return_inverse=True)[1]
    parts = [mesh.keep_faces(number == k) for k in range(int(number.max()) + 1)]
    reach = [float(np.linalg.norm(np.ptp(p.vertices, axis=0))) for p in parts]
    order = sorted(range(len(parts)), key=lambda k: -reach[k])
    large = [k for k in order if reach[k] > 0.01 * size][:MOST_PARTS]
    return [parts[k] for k in large], len(parts) - len(large)


def _cut(part: Mesh, threshold: float) -> list[Mesh]:
    """A part cut by CoACD, in the part's own units; the same bytes for the same part."""
    from ..surface.clean import fill_holes
    from ..surface.simplify import decimate

    library = load("coacd")
    library.set_log_level("error")
    # Pinholes would have the whole part made anew by CoACD.
    whole = fill_holes(welded(part), PINHOLE)[0] if is_closed(part) else part
    few = decimate(whole, FEW_FACES) if len(whole.faces) > FEW_FACES else whole
    places, faces = few.vertices.astype(np.float64), few.faces
    low, size = places.min(0), max(float(np.ptp(places, axis=0).max()), 1e-30)
    mesh = library.Mesh((places - low) / size, faces)
    found = library.run_coacd(mesh, threshold=threshold, seed=0, **SEARCH)
    return [convex_hull(np.asarray(points) * size + low)[0] for points, _ in found]
