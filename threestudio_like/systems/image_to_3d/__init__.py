"""Methods that make an object of one picture."""
