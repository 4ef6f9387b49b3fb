"""A study's search: Optuna draws configurations, the run folder keeps its journal."""
