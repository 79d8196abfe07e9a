"""Laws, fits, crossovers, plots and reports: takes tables, imports neither torch nor Ray."""
