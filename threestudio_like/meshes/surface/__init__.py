"""What is done to surfaces: extraction, cleaning, triangulation, normals, simplification."""
