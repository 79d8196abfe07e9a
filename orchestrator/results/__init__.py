"""Run folders as tables: records of runs, readings of their events, tidy frames."""
