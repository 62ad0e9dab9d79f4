"""Plain torch: what correctness means."""
