"""The tests; they mirror the packages, and `support` holds what several of them share."""
