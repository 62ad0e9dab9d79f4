"""Methods that make a scene of several objects."""
