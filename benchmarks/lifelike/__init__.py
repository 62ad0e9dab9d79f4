"""Twenty scenes as one would photograph them: things of the second world on a desk, in a room and
in a garden, drawn by a path tracer (Mitsuba 3) with walls, floors, windows, a lens and a sensor."""
