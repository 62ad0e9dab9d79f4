"""glTF 2.0: read with everything that it holds, patched where an asset differs, or written anew."""
