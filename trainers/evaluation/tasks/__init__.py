"""Evaluation tasks, one file each: what a model is asked beside the loss of its validation halves."""
