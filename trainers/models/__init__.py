"""Models: one file each, registered with ``@models.register``."""
