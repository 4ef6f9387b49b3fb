"""Former name; to be deleted when every branch uses `trainables.records`."""

from trainables.records import Progress

__all__ = ["Progress"]
