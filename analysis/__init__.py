"""Answers from a run's tables: estimates, verdicts on claims, figures, a report. It reads tables alone, without torch or Ray."""
