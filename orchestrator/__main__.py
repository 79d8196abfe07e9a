"""``python -m orchestrator``: the same as ``crossover``."""

from orchestrator.cli import main

main()
