"""Measurements of a trained network, made once at the end of its trial; one function each, by name in MEASUREMENTS."""
