"""What is measured of a trained network, once, at the end of its trial: one function each, by name in MEASUREMENTS."""
