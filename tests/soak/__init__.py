"""The soak: small studies under random faults, until each has the tables of an undisturbed run."""
