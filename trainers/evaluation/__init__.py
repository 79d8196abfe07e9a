"""Scoring a model on the validation halves (`scoring`), and the steps at which that is done (`grid`,
torch-free)."""
