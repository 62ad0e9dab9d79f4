"""The definitions of the operations, in plain torch."""
