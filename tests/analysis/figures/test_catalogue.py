"""Every figure runs, shows the right numbers, is skipped with a reason where it cannot be drawn, and never changes."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ET
from typing import Any

import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from analysis.figures import architecture, curves, mosaics
from analysis.figures.base import Drawn, Skipped
from analysis.figures.catalogue import FIGURES, draw
from analysis.figures.style import ALIKE, LOOKS, look, looks
from analysis.intervals import t_interval
from study.table import Tables
from tests.support.tables import FINAL, FLOOR, MEAN_IMAGE, STEPS, make_tables, replaced, stored


@pytest.fixture(scope="module")
def paper() -> Tables:
    return make_tables(seeds=3)


@pytest.fixture(scope="module")
def plane() -> Tables:
    return make_tables(seeds=1, arms=("elu", "vae"), base={"latent_dim": 2})


@pytest.fixture(scope="module")
def svgs(paper: Tables) -> dict[str, str]:
    """Each of the paper's figures as SVG, by name."""
    return {figure.name: figure.svg() for figure in draw(paper) if isinstance(figure, Drawn)}


def drawn(name: str, tables: Tables) -> Drawn:
    (figure,) = draw(tables, [name])
    assert isinstance(figure, Drawn)
    return figure


def test_figures_of_the_paper_are_all_svg_with_text(svgs: dict[str, str]) -> None:
    assert set(svgs) == set(FIGURES) - {"latent_plane"}
    for svg in svgs.values():
        texts = [node.text for node in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
        assert any(text for text in texts)


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "latent_plane"])
def test_figure_frame_is_its_csv_and_has_a_caption(name: str, paper: Tables) -> None:
    frame = FIGURES[name].data(paper)
    figure = Drawn(name, "", "", frame, Figure())
    assert len(list(csv.reader(io.StringIO(figure.csv())))) == len(frame) + 1
    assert FIGURES[name].caption(frame).endswith(".")


def test_latent_plane_places_codes_and_decoded_images(plane: Tables) -> None:
    figure = drawn("latent_plane", plane)
    counts = figure.frame.groupby(["cell", "kind"]).size().to_dict()
    assert counts == {("elu", "code"): 40, ("elu", "decoded"): 9, ("vae", "code"): 40, ("vae", "decoded"): 9}
    decoded = figure.frame[(figure.frame["kind"] == "decoded") & (figure.frame["cell"] == "elu")]
    second = decoded.iloc[1]  # the grid's image 1 is grid_axis_0[0], grid_axis_1[1]
    assert (second["z1"], second["z2"]) == (-2.0, 0.0)
    assert len(figure.figure.axes) == 4


def test_plot_decoded_puts_large_z2_at_the_top_and_large_z1_at_the_right(plane: Tables) -> None:
    frame = mosaics.plane_data(plane)
    ax = mosaics.plot_decoded(frame[frame["cell"] == "elu"], Figure().add_subplot())
    shown = ax.images[0].get_array()
    assert shown is not None
    assert shown[0, 0] * 255 == pytest.approx(2 * 9)  # top left: z1 smallest, z2 largest, image 2
    assert shown[-1, -1] * 255 == pytest.approx(6 * 9)  # bottom right: z1 largest, z2 smallest, image 6


def test_figures_on_pca_alone_are_skipped_with_a_reason_or_drawn() -> None:
    found = {figure.name: figure for figure in draw(make_tables(arms=("pca",)))}
    drawn = {name for name, figure in found.items() if isinstance(figure, Drawn)}
    assert drawn == {"sweep", "reconstructions"}
    assert all(figure.reason for figure in found.values() if isinstance(figure, Skipped))


@pytest.mark.parametrize("missing", list(FINAL))
def test_figures_with_a_cell_missing_are_drawn_from_the_others(missing: str, paper: Tables) -> None:
    gone = set(paper.results.loc[paper.results["cell"] == missing, "replicate"])
    frames = {"results": paper.results, "profiles": paper.profiles, "images": paper.images}
    frames = {name: frame[~frame["replicate"].isin(gone)] for name, frame in frames.items()}
    tables = stored(frames, paper.spec, {})
    shown = curves.curves_data(tables, linear=True)
    assert missing not in set(shown["cell"])
    assert set(shown.loc[shown["kind"] == "curve", "cell"]) == set(FINAL) - {missing}
    assert len(mosaics.reconstructions_data(tables)) == 10 * (1 + len(FINAL))  # input, five networks, PCA


def test_mosaics_of_many_networks_show_some_of_each_latent_dimension_and_say_so() -> None:
    dims = [1, 2, 3, 5, 8, 10, 16, 20, 32, 50]
    many = make_tables(1, arms=("elu", "vae"), grid={"latent_dim": dims})
    frame = mosaics.reconstructions_data(many)
    shown = [cell for cell in frame["cell"].unique() if cell]
    assert len(shown) == 16 and {f"{arm} latent_dim={n}" for arm in ("elu", "vae") for n in (1, 50)} <= set(shown)
    assert "16 of 20 networks" in mosaics.reconstructions_caption(frame)
    assert mosaics.samples_data(many)["cell"].nunique() == mosaics.MOST_SAMPLED
    few = mosaics.reconstructions_data(make_tables(1, arms=("elu", "vae"), grid={"latent_dim": dims[:3]}))
    assert len([cell for cell in few["cell"].unique() if cell]) == 6
    assert "networks:" not in mosaics.reconstructions_caption(few)


def test_curves_data_has_seed_means_their_intervals_and_the_reference_levels(paper: Tables) -> None:
    frame = curves.curves_data(paper, linear=True)
    last = frame[(frame["cell"] == "elu") & (frame["step"] == STEPS[-1])].iloc[0]
    assert last["mean"] == pytest.approx(102.0)
    assert (last["low"], last["high"]) == pytest.approx(t_interval([100.0, 102.0, 104.0]))
    levels = frame[frame["kind"] == "reference"].set_index("cell")["mean"].to_dict()
    assert levels == pytest.approx({"mean image": MEAN_IMAGE, "pca": 157.7, "entropy floor": FLOOR})


def test_curves_data_without_the_linear_ones_has_the_noise_of_a_batch_of_100(paper: Tables) -> None:
    frame = curves.curves_data(paper, linear=False)
    cells = set(frame.loc[frame["kind"] == "curve", "cell"])
    assert cells == {"sigmoid", "relu", "elu", "vae"}
    noise = frame[(frame["kind"] == "noise") & (frame["step"] == STEPS[-1])].iloc[0]
    spread = 8 / 2**0.5  # neighbouring evaluations differ by 8
    center = (120 + 111 + 100 + 105) / 4 + 2
    assert noise["mean"] == pytest.approx(center)
    assert (noise["low"], noise["high"]) == pytest.approx((center - spread, center + spread))
    assert "5.7 nats" in curves.curves_caption(frame, linear=False)


def test_curves_of_one_seed_have_no_band_and_the_caption_says_so(paper: Tables) -> None:
    frame = curves.curves_data(make_tables(seeds=1), linear=True)
    assert frame.loc[frame["kind"] == "curve", ["low", "high"]].isna().all(axis=None)
    assert "One seed, no band." in curves.curves_caption(frame, linear=True)
    assert "3 seeds" in curves.curves_caption(curves.curves_data(paper, linear=True), linear=True)


def test_legend_of_many_cells_stays_inside_the_figure() -> None:
    tables = make_tables(seeds=1, arms=("elu", "vae"), grid={"learning_rate": [i / 1e4 for i in range(1, 9)]})
    figure = drawn("f6_loss_all", tables).figure
    box, (width, height) = figure.legends[0].get_window_extent(), figure.get_size_inches() * figure.dpi
    assert 0 <= box.x0 < box.x1 <= width
    assert 0 <= box.y0 < box.y1 <= height
    assert max(axes.get_window_extent().height for axes in figure.axes) > height / 3


def test_curves_of_many_cells_of_a_network_have_colours_of_a_scale_in_the_order_of_their_numbers() -> None:
    rates = [i / 1e4 for i in range(1, 21)]
    tables = make_tables(seeds=1, arms=("elu",), grid={"learning_rate": rates})
    figure = drawn("f6_loss_all", tables)
    names = list(dict.fromkeys(figure.frame.loc[figure.frame["kind"] == "curve", "cell"]))
    assert names == [f"elu learning_rate={rate}" for rate in rates], "by number, not by text"
    colors = [line.get_color() for line in figure.figure.axes[0].lines[: len(rates)]]
    assert len(set(colors)) == len(rates)
    assert len(figure.figure.legends[0].get_texts()) <= curves.MOST_NAMED


@pytest.mark.parametrize(("low", "high"), [(98.0, 108.0), (100.2, 101.7), (0.0, 2e7)])
def test_plot_curves_labels_each_tick_with_its_value(paper: Tables, low: float, high: float) -> None:
    ax = curves.plot_curves(curves.curves_data(paper, linear=False))
    ax.set_ylim(low, high)
    ax.get_figure(root=True).draw_without_rendering()  # type: ignore[union-attr]
    shown = {tick.get_position()[1]: tick.get_text() for tick in ax.get_yticklabels()}
    assert shown and all(float(text.replace(",", "")) == pytest.approx(at) for at, text in shown.items())


def test_curves_far_apart_have_no_noise_band_between_them(paper: Tables) -> None:
    far = replaced(
        replaced(replaced(paper, "vae", 0, test_nll=900.0), "vae", 1, test_nll=900.0), "vae", 2, test_nll=900.0
    )
    frame = curves.curves_data(far, linear=False)
    assert (frame["kind"] == "noise").any() and "Grey band" not in curves.curves_caption(frame, linear=False)
    assert "Grey band" in curves.curves_caption(curves.curves_data(paper, linear=False), linear=False)


def test_plot_curves_draws_x_and_y_of_the_same_row(paper: Tables) -> None:
    frame = curves.curves_data(paper, linear=True)
    shuffled = frame.sample(frac=1, random_state=0)
    lines = {str(line.get_label()).split(":")[0]: line for line in curves.plot_curves(shuffled).get_lines()}
    expected = frame[frame["cell"] == "relu"].sort_values("step")
    assert lines["relu"].get_xydata() == pytest.approx(expected[["step", "mean"]].to_numpy(dtype=float))


def test_curves_of_a_diverged_cell_are_marked() -> None:
    tables = replaced(make_tables(seeds=1), "elu", 0, status="diverged")
    labels = [str(line.get_label()) for line in curves.plot_curves(curves.curves_data(tables, linear=True)).get_lines()]
    assert [label for label in labels if "diverged" in label] == ["elu:  100.0\n(diverged)"]


def test_curves_beside_a_replicate_that_has_not_begun_are_those_of_the_others() -> None:
    tables = replaced(make_tables(seeds=2), "elu", 1, status="pending", step=None, test_nll=None)
    curve = curves.curves_data(tables, linear=True)
    assert curve.loc[curve["cell"] == "elu", "step"].tolist() == list(STEPS)
    assert curve.loc[curve["cell"] == "elu", "seeds"].tolist() == [1] * len(STEPS)


def test_curves_of_a_collapsed_cell_are_marked() -> None:
    tables = replaced(make_tables(seeds=2), "linear clipped", 1, collapsed=True)
    frame = curves.curves_data(tables, linear=True)
    notes = frame[frame["kind"] == "curve"].drop_duplicates("cell").set_index("cell")["note"].to_dict()  # type: ignore[arg-type]
    assert notes == {cell: "1 of 2 collapsed" if cell == "linear clipped" else "" for cell in FINAL}  # type: ignore[arg-type]


def test_linear_reconstructions_show_input_then_each_output_head_at_three_steps(paper: Tables) -> None:
    frame = drawn("f2_linear", paper).frame
    rows = frame.drop_duplicates("row")
    assert rows["label"].str.replace("\n", " ").tolist() == [
        "input",
        *(f"linear {step} steps" for step in ("200", "600", "1,000")),
        *(f"linear clipped {step} steps" for step in ("200", "600", "1,000")),
    ]
    assert rows["test_nll_mean"].iloc[-1] == pytest.approx(FINAL["linear clipped"])
    assert frame["pixels"].iloc[1] == bytes([9]) * 784


def test_figures_of_a_sweep_show_one_latent_dim_and_the_caption_names_it() -> None:
    tables = make_tables(seeds=1, arms=("elu", "vae"), grid={"latent_dim": [4, 50]})
    figure = drawn("f3_non_linear", tables)
    assert set(figure.frame["cell"]) == {"", "elu latent_dim=4"}
    assert "N = 4" in figure.caption
    assert "2 other cells" in figure.caption
    assert set(drawn("reconstructions", tables).frame["cell"]) >= {"elu latent_dim=4", "vae latent_dim=50"}


@pytest.mark.parametrize(("variational", "parameters"), [(False, 1_291_789), (True, 1_294_294)])
def test_architecture_counts_the_parameters_of_the_paper(
    variational: bool,
    parameters: int,
    paper: Tables,
) -> None:
    frame = architecture.architecture_data(paper, variational=variational)
    assert frame["parameters"].sum() == parameters
    assert f"{parameters:,}" in architecture.architecture_caption(frame)


@pytest.mark.parametrize(
    "config",
    [
        {"hidden_dims": (30, 20, 10), "latent_dim": 3},
        {"hidden_dims": (), "latent_dim": 7, "output": "identity", "likelihood": "gaussian"},
        {"hidden_dims": (16,), "latent_dim": 4, "model": "vae", "posterior": "spherical"},
    ],
)
def test_architecture_parameters_equal_those_of_the_network(config: dict[str, Any]) -> None:
    import torch

    from trainables import models
    from trainables.schema import TrialConfig

    full = TrialConfig(**config)
    network = models.build(full, torch.Generator().manual_seed(0))
    layers = architecture.layers(full.model_dump(), variational=full.variational)
    assert sum(layer["parameters"] for layer in layers) == sum(weights.numel() for weights in network.parameters())
    assert architecture.plot_architecture(pd.DataFrame(layers).assign(cell="x")).get_figure() is not None


def test_loss_that_never_changes_is_drawn_in_the_middle_of_its_panel(paper: Tables) -> None:
    frame = curves.curves_data(paper, linear=False)
    flat = frame[frame["kind"] == "curve"].assign(mean=MEAN_IMAGE, low=MEAN_IMAGE, high=MEAN_IMAGE)
    assert curves.plot_zoom(flat).axes[1].get_ylim() == (MEAN_IMAGE - 1, MEAN_IMAGE + 1)


def test_figure_drawn_twice_is_the_same_bytes(paper: Tables, svgs: dict[str, str]) -> None:
    first, second = drawn("f7_loss_non_linear", paper), drawn("f7_loss_non_linear", paper)
    assert first.svg() == svgs["f7_loss_non_linear"]
    assert first.png() == second.png()
    assert first.csv() == second.csv()


def test_svg_ids_of_different_figures_do_not_collide(svgs: dict[str, str]) -> None:
    ids = [identifier for svg in svgs.values() for identifier in re.findall(r'\bid="([^"]+)"', svg)]
    assert len(ids) == len(set(ids)) > 100
    for svg in svgs.values():
        referenced = set(re.findall(r"(?:href=\"|url\()#([^\")]+)", svg))
        assert referenced <= set(re.findall(r'\bid="([^"]+)"', svg))


def test_drawing_leaves_no_figure_open_in_pyplot(paper: Tables) -> None:
    drawn("f6_loss_all", paper)
    assert pyplot.get_fignums() == []


def test_looks_keep_networks_apart_by_colour_line_and_marker() -> None:
    assert len({value.color for value in LOOKS.values()}) == len(LOOKS)
    assert len({value.marker for value in LOOKS.values()}) == len(LOOKS)
    assert look("elu") == looks([("a cell of this name", "elu"), ("b", "relu")])["a cell of this name"]


def test_looks_of_cells_with_one_network_get_lighter() -> None:
    shades = looks([(f"elu latent_dim={dim}", "elu") for dim in (2, 5, 10)])
    sums = [sum(to_rgb(shade.color)) for shade in shades.values()]
    assert sums == sorted(sums)
    assert len(set(sums)) == 3


def test_looks_of_cells_with_one_network_have_marks_and_lines_of_their_own() -> None:
    shades = list(looks([(str(rank), "vae") for rank in range(ALIKE)]).values())
    assert len({shade.marker for shade in shades}) == ALIKE and len({str(shade.line) for shade in shades[:5]}) == 5


def test_looks_of_networks_without_one_are_told_apart() -> None:
    found = looks([("a", "elu"), ("b", "tied"), ("c", "bent"), ("d", "tied")])
    assert found["a"] == look("elu") and len({shown.color for shown in found.values()}) == 4
