"""PLY: the Polygon File Format of Stanford, as text and in both binary orders."""
