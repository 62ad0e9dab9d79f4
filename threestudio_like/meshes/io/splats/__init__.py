"""Files of 3D Gaussians: PLY as the published code writes it, and Niantic's SPZ."""
