"""Ray clusters of several machines: the check of a cluster file, and the choice between spot and on demand."""
