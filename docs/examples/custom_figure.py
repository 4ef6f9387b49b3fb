"""From a run's table to a figure of one's own: what does an image cost a VAE, at each latent dimension N?

Run it from the repository's root, `python docs/examples/custom_figure.py`, or open it as a notebook (VS Code; Jupyter
with jupytext): each `# %%` begins a cell.
"""

# %% The table of a run. `load_tables` checks it and knows its spec; `pandas.read_parquet` reads the same rows.
import pandas as pd
from matplotlib.figure import Figure

from analysis.cells import final_rows, mean_and_interval, references
from analysis.figures.style import GREY, LOOKS, settle, theme, to_png
from study.table import load_tables

tables = load_tables("results/latent")
last = final_rows(tables)  # a DataFrame: the last row of each replicate that finished

# %% For each N, means over seeds: distortion and rate, which add up to the negative ELBO, and the latents in use.
vaes = last[last["config/model"] == "vae"].groupby("config/latent_dim")
means = vaes[["test_nll", "test_kl", "test_active_units"]].mean()
columns = ["mean", "low", "high"]  # with the 95 % t interval, NaN where there is one seed
elbo = pd.DataFrame([mean_and_interval(values) for _, values in vaes["test_neg_elbo"]], columns=columns, dtype=float)

# %% Plain matplotlib, in the report's colours and look.
blue, orange, black = (LOOKS[name].color for name in ("elu", "linear clipped", "vae"))
with theme():
    ax = Figure(figsize=(6.4, 4.2), layout="constrained").add_subplot()
    names = means.index.astype(str)
    ax.bar(names, means["test_nll"], color=blue, label="distortion: test NLL, one z sampled")
    rate = ax.bar(names, means["test_kl"], bottom=means["test_nll"], color=orange, label="rate: KL to the prior")
    ax.bar_label(rate, [f"{units:.3g}" for units in means["test_active_units"]], padding=9)
    ax.vlines(names, elbo["low"], elbo["high"], color=black, label="95 % interval of the sum, from 2 seeds on")
    ax.axhline(max(references(tables, "test_nll_floor").values()), color=GREY, linestyle=":", label="entropy floor")
    ax.set(xlabel="latent dimension N", ylabel="nats per image", title="A VAE's cost per image, and its latents in use")
    ax.margins(y=0.1)
    ax.grid(visible=False, axis="x")
    ax.legend(frameon=False)

# %% The same file for the same table, byte for byte.
settle(ax.figure)
with open("vae_cost.png", "wb") as file:
    file.write(to_png(ax.figure))
