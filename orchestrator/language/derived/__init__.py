"""What a sweep leaves to be derived: sizes from ladders, shapes, values by rule, budgets, supply of text."""
