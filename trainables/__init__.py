"""One trial: from a TrialConfig to reported metrics."""
