"""Training data of image-to-3D models."""
