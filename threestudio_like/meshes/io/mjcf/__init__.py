"""MJCF, the scenes of the MuJoCo solver."""
