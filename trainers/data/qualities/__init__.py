"""Qualities, one file each: filters and corruptions of the training documents."""
