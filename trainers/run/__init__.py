"""One run from start to end: the loop, the learner, lineage, rescoring, trained models and their export."""
