"""3MF: the format of printers, by the specifications of the 3MF Consortium (core; materials and
properties; production)."""
