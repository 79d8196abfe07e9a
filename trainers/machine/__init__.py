"""The machine under a run: its numerics class, its memory, and the workers that share each batch."""
