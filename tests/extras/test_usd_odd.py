"""USD from other programs: what may stand in its meshes and materials besides the usual."""

import numpy as np
import pytest

pytest.importorskip("pxr")

from pxr import Usd, UsdGeom

from threestudio_like.meshes import Asset


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
