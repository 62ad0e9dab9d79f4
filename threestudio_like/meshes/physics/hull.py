"""Convex hulls as meshes; flat ones get a thickness."""

from __future__ import annotations

import numpy as np

from ..mesh import Mesh

THIN = 0.01
"""Thickness that a flat hull gets, as a share of its size."""
FLAT = 1e-4
"""Below this share of its size a hull is flat."""


def convex_hull(points: np.ndarray) -> tuple[Mesh, bool]:
    """The convex hull of points (N, 3) as a closed mesh, faces outwards, and whether the points lie
    in a plane (or on a line), so that it was given a thickness of `THIN` of its size."""
    from scipy.spatial import ConvexHull, QhullError

    cloud = np.unique(np.asarray(points, np.float64), axis=0)
    middle = cloud.mean(0)
    _, _, axes = np.linalg.svd(cloud - middle, full_matrices=True)
    extents = np.ptp((cloud - middle) @ axes.T, axis=0)
    size = max(float(extents.max()), 1e-30)
    flat = [axis for axis, extent in zip(axes, extents) if extent < FLAT * size]
    for axis in flat:
        shift = axis * (THIN * size / 2)
        cloud = np.concatenate([cloud - shift, cloud + shift])
    try:
        found = ConvexHull((cloud - middle) / size)
    except QhullError:
        # Nearly flat in a direction that the axes do not show: joggled points have a hull.
        found = ConvexHull((cloud - middle) / size, qhull_options="QJ")
    used, faces = np.unique(found.simplices, return_inverse=True)
    faces = faces.reshape(-1, 3)
    corners = found.points[found.simplices]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    inwards = np.einsum("ij,ij->i", normal, found.equations[:, :3]) < 0
    faces[inwards] = faces[inwards][:, ::-1]
    return Mesh(cloud[used].astype(np.float32), faces.astype(np.int32)), bool(flat)
