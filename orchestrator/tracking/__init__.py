"""MLflow: the experiment of a store, the mirror of run folders, and the metrics written there."""
