"""Objectives: how a model learns. One file each, registered with ``@objectives.register``."""
