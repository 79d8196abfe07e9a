"""Torch modules of the models; imported only when a model is built."""
