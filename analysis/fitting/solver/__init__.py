"""The solver: many starts, descent, Newton steps, kinked losses."""
