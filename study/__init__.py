"""Many trials: from a study's spec to its results table."""
