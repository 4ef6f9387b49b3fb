"""Pictures for the page: smaller, in the page's colours, and still the same to the eye."""

import base64
import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from analysis.figures.style import theme, to_svg
from analysis.report.pictures import GREYS, compact, png_uri, share, smaller


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")).astype(int)


def test_grey_picture_keeps_every_pixel_to_half_a_shade_and_takes_a_fraction_of_the_bytes():
    image = np.random.default_rng(0).integers(0, 256, (200, 300)).astype(np.uint8)
    content = smaller(png(image))
    assert len(content) < 0.6 * len(png(image))
    away = np.abs(pixels(content)[..., 0] - image)
    assert away.max() <= 255 / (GREYS - 1) / 2 + 1
    assert len(np.unique(pixels(content)[..., 0])) <= GREYS


def test_coloured_picture_keeps_its_colours_and_what_is_transparent():
    image = np.zeros((40, 40, 4), np.uint8)
    image[:20, :, :] = (0, 114, 178, 255)
    image[20:, 20:, :] = (213, 94, 0, 255)
    assert np.abs(pixels(smaller(png(image))) - image).max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1)])
def test_picture_is_never_larger_than_before(shape):
    content = png(np.full(shape, 7, np.uint8))
    assert len(smaller(content)) <= len(content)


def drawn():
    with theme():
        figure = Figure(figsize=(3, 2))
        axes = figure.add_subplot()
        axes.plot([0.123456789, 1], [2, 3.987654321], color="#D55E00")
        axes.imshow(np.tile(np.arange(256), (40, 1)), cmap="gray", interpolation="none", aspect="auto")
        axes.set_title("a <title> of 0.123456 in #262626")
        return to_svg(figure, "one")


def test_svg_is_smaller_and_has_the_pages_colours_for_text_and_its_own_for_data():
    before, after = drawn(), compact(drawn())
    assert len(after) < 0.7 * len(before)
    assert "fill: var(--ink)" in after and "var(--card)" in after and "stroke: #d55e00" in after
    assert "font-family" not in after and "&lt;title&gt;" in after
    assert after.startswith("<svg") and after.rstrip().endswith("</svg>")


def test_svg_keeps_every_id_that_something_refers_to():
    after = compact(drawn())
    refers = set(re.findall(r'(?:href="#|url\(#)([^")]+)', after))
    assert refers and all(f'id="{name}"' in after for name in refers)


def test_words_of_a_figure_stay_as_they_are():
    assert "a &lt;title&gt; of 0.123456 in #262626" in compact(drawn())


def test_png_uri_reads_back():
    content = png(np.zeros((2, 2), np.uint8))
    assert base64.b64decode(png_uri(content).partition(",")[2]) == content


def test_shared_styles_and_short_ids_keep_each_element_and_its_look():
    page = f"<html><head><title>t</title></head><body>{compact(drawn())}<p style='x'>no picture</p></body></html>"
    after = share(page)
    assert len(after) < len(page) and "<p style='x'>no picture</p>" in after
    rules = dict(re.findall(r"\.(s\d+) \{ (.*) \}", after))
    again = re.sub(r' class="(s\d+)"', lambda match: f' style="{rules[match[1]]}"', after.partition("</head>")[2])
    count = [len(re.findall(rf"<{tag}\b", page)) for tag in ("path", "use", "text", "image")]
    assert [len(re.findall(rf"<{tag}\b", again)) for tag in ("path", "use", "text", "image")] == count
    assert sorted(re.findall(r' style="([^"]*)"', again)) == sorted(re.findall(r' style="([^"]*)"', page))
    refers = re.findall(r'(?:href="#|url\(#)([^")]+)', again)
    assert refers and all(again.count(f' id="{name}"') == 1 for name in refers)
