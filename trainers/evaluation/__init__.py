"""Evaluation: `evaluate.evaluate`, `evaluate.to_precision`, `masked.exact_under_order`, and the torch-free
`grid.evaluation_steps`.
"""
