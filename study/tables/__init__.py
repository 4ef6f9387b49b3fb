"""The tables of a run: their columns, the files that hold them, how they are built, merged and exported."""
