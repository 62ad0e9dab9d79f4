"""Methods that make an object of a prompt."""
