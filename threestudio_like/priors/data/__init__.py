"""What image-to-3D models are trained on."""
