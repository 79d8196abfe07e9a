"""What a run keeps: its folder of immutable objects and commits, checkpoints, and what of them stays."""
