"""Where tasks run: in this process, or on Ray Core. One interface, so that a test of the driver starts no
Ray."""

from orchestrator.execution.backends.base import Backend, Finished
from orchestrator.execution.backends.local import LocalBackend

__all__ = ["Backend", "Finished", "LocalBackend"]
