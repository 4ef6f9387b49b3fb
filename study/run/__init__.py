"""Runs a study: from its replicates to packs, on Ray or in this process, into the run folder."""
