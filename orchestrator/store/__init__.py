"""The store: where everything lies, who holds which part of it, and where runs come from."""
