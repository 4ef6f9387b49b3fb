"""The results of a search: the settings that matter, its course, its best. From the tables; Optuna, no torch."""
