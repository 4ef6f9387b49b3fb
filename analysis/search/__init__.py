"""What a search has found: which settings matter, how it went, what it offers. From the tables; Optuna, no torch."""
