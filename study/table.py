"""Reads a study's tables: the door for analysis, notebooks and plugins. Loads neither torch nor Ray."""

from __future__ import annotations

from study.cost import device_hours
from study.runfolder import MERGED, TableError
from study.tables.files import Tables, load_tables, to_csv

__all__ = ["MERGED", "TableError", "Tables", "device_hours", "load_tables", "to_csv"]
