"""What `reconstruct` is made of: what is given, which method, the asset."""
