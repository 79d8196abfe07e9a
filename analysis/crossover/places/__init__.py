"""The law of the place of a crossing over the cells of a study, censored ones included."""
