"""The sweep language: YAML in, runs and end points out, and every error with its file and line."""
