"""Answers from a run's tables: estimates, verdicts on claims, figures, a report. It needs neither torch nor Ray."""
