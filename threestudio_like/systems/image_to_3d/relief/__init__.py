"""Any picture to a closed shape that is optimised for it, and several photos of one object."""
