"""The tables open in other tools, and what the documentation shows of that runs and gives the same numbers."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

from study.table import load_tables, to_csv
from study.tables.columns import SCHEMAS

ROOT = Path(__file__).resolve().parents[2]
RUNS = sorted(path.parent for path in (ROOT / "results").glob("*/results.parquet"))
LATENT = ROOT / "results" / "latent" / "results.parquet"
SECTION = (ROOT / "docs" / "running.md").read_text().split("## From the tables to your own figure")[1].split("\n## ")[0]
"""The tables in other tools."""


def query(sql: str) -> pd.DataFrame:
    return duckdb.execute(sql).df()


def test_custom_figure_shows_the_numbers_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").symlink_to(ROOT / "results")
    monkeypatch.chdir(tmp_path)
    shown = runpy.run_path(str(ROOT / "docs" / "examples" / "custom_figure.py"))
    expected = query(
        f"""SELECT "config/latent_dim" AS n, avg(test_nll) AS nll, avg(test_kl) AS kl, avg(test_active_units) AS units
            FROM '{LATENT}' WHERE final AND status = 'finished' AND "config/model" = 'vae' GROUP BY n ORDER BY n"""
    )
    ax = shown["ax"]
    distortion, rate = ([bar.get_height() for bar in bars] for bars in ax.containers)
    assert distortion == pytest.approx(expected["nll"]) and rate == pytest.approx(expected["kl"])
    assert [label.get_text() for label in ax.get_xticklabels()] == expected["n"].astype(str).tolist()
    assert [float(text.get_text()) for text in ax.texts] == pytest.approx(expected["units"], rel=0.005)
    written = (tmp_path / "vae_cost.png").read_bytes()
    assert written.startswith(b"\x89PNG") and written == shown["to_png"](ax.figure)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_tables_open_in_pandas_pyarrow_and_duckdb(run: Path) -> None:
    tables = load_tables(str(run))
    for name in SCHEMAS:
        path = run / f"{name}.parquet"
        frame, arrow, sql = pd.read_parquet(path), pq.read_table(path), query(f"SELECT * FROM '{path}'")
        assert len(frame) == arrow.num_rows == len(sql) == len(getattr(tables, name))
        loaded = [column for column in getattr(tables, name) if column in frame]  # some columns are younger
        assert list(frame.columns) == arrow.column_names == list(sql.columns) == loaded


def test_query_of_duckdb_and_of_pandas_give_the_same_means() -> None:
    found = query(
        f"""SELECT "config/activation" AS activation, "config/latent_dim" AS n, avg(test_nll) AS nll, count(*) AS seeds
            FROM '{LATENT}' WHERE final AND status = 'finished' AND "config/task" = 'train'
            GROUP BY ALL ORDER BY activation, n"""
    )
    rows = pd.read_parquet(LATENT)
    rows = rows[rows["final"] & (rows["status"] == "finished") & (rows["config/task"] == "train")]
    expected = rows.groupby(["config/activation", "config/latent_dim"])["test_nll"].agg(["mean", "size"]).reset_index()
    assert len(found) >= 14
    assert found["n"].tolist() == expected["config/latent_dim"].tolist()
    assert found["nll"].tolist() == pytest.approx(expected["mean"].tolist())
    assert found["seeds"].tolist() == expected["size"].tolist()


def test_lines_of_the_page_give_the_same_rows_in_pandas_and_duckdb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code = re.search(r"```python\n(.*?)```", SECTION, re.DOTALL)
    assert code
    first, second = (eval(line, {"pandas": pd, "duckdb": duckdb}) for line in code[1].splitlines())
    assert len(first) and first["replicate"].tolist() == second["replicate"].tolist()
    assert first["config/latent_dim"].min() == second["config/latent_dim"].min() == 20


def test_csv_writes_truth_values_as_r_reads_them_and_nulls_as_nothing() -> None:
    frame = pd.DataFrame({"a/b": [True, False], "known": [None, True], "n": [1, 2], "text": ["True", None]})
    assert to_csv(frame) == "a/b,known,n,text\nTRUE,,1,True\nFALSE,TRUE,2,\n"
    assert to_csv(frame[:0]) == "a/b,known,n,text\n"


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
def test_lines_of_the_page_give_the_same_rows_in_r(tmp_path: Path) -> None:
    code = re.search(r"```r\n(.*?)```", SECTION, re.DOTALL)
    assert code and "--csv latent.csv" in SECTION
    tables = load_tables(str(LATENT.parent))
    (tmp_path / "latent.csv").write_text(to_csv(tables.results))
    lines = code[1].strip().splitlines()
    script = "\n".join([*lines[:-1], f"found <- {lines[-1]}", 'write.csv(found, "found.csv", row.names = FALSE)'])
    subprocess.run(["Rscript", "-e", script], cwd=tmp_path, check=True, timeout=120)
    rows = tables.results
    expected = rows[rows["final"] & (rows["config/latent_dim"] >= 20)]
    found = pd.read_csv(tmp_path / "found.csv")
    assert len(found) and found["replicate"].tolist() == expected["replicate"].tolist()
    assert found["test_nll"].tolist() == pytest.approx(expected["test_nll"].tolist(), rel=1e-12)
