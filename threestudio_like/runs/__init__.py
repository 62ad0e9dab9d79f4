"""A run from its opening to its delivery, for every command."""
