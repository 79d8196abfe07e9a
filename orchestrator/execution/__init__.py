"""Carrying a plan out: jobs, the scheduler, the driver of a backend, workers, and the live view."""
