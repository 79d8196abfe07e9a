"""What one training run is, and how it trains. Needs torch; knows nothing of Ray, MLflow or the analysis."""
