"""A study from run to report: its stages, rules that stop it, evaluations inside brackets."""
