"""Files of meshes and pictures."""
