"""Reads a study's tables: the door for analysis, notebooks and plugins. Loads neither torch nor Ray."""

from __future__ import annotations

from study.runfolder import MERGED, device_hours, load_tables, to_csv
from study.tables.files import TableError, Tables, once

__all__ = ["MERGED", "TableError", "Tables", "device_hours", "load_tables", "once", "to_csv"]
