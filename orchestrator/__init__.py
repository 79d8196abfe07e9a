"""The sweep language, plans, scheduling and the command line: all that knows both runs and Ray or MLflow."""
