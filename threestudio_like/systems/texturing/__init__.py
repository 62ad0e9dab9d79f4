"""Methods that paint a given mesh."""
