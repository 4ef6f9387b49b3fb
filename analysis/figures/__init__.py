"""Figures of a study: each has its data as a tidy frame, its drawing and its caption."""
