"""STL: triangles without connectivity, text or binary."""
