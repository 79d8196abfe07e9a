"""The forms that a transformer's layers can have: one file each, registered with ``@blocks.register``.

Importing this package needs no torch.
"""
