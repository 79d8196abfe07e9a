"""One module a command; each offers a click command named ``command``."""
