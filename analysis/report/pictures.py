"""Makes pictures small enough for a page that holds hundreds: SVG in the page's own colours, PNG in few greys."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter

import numpy as np
from PIL import Image

from analysis.dimension.panels import SHADE
from analysis.figures.style import BAD, GOOD, GREY, GRID, INK, LOOKS

GREYS, COLOURS = 16, 64
"""Shades of a grey picture and colours of another: the eye sees no difference, and the file is a third as large."""
_COLOURS = {
    INK: "--ink",
    LOOKS["vae"].color: "--ink",  # nearly black
    GREY: "--soft",
    GRID: "--line",
    SHADE: "--band",
    GOOD: "--good",
    BAD: "--bad",
    "#FFFFFF": "--card",
}
"""The page's variables for the colours of text, lines and ground; other colours of data stay."""
_SVG = re.compile("<svg.*?</svg>", re.DOTALL)
_STYLE = re.compile(' style="([^"]*)"')
_REFERENCE = re.compile(r'(?:<use [^>]*?href="#|url\(#)([^")]+)')
_PNG = re.compile(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)")


def compact(svg: str) -> str:
    """Makes a figure's SVG smaller, in the page's colours and font, which follow a dark page and paper.

    Numbers lose decimals that no screen shows, elements lose ids that nothing refers to.
    """
    svg = svg[svg.index("<svg") :].replace(' target="_blank"', "")
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used else "", svg)
    svg = _PNG.sub(lambda match: png_uri(smaller(base64.b64decode(match[1]))), svg)
    return re.sub("<[^>]+>", lambda match: _shorter(match[0]), re.sub(r"\s*\n\s*", "\n", svg))


def share(page: str) -> str:
    """Gives the pictures of a page short ids, and common classes for styles that are repeated; the pictures stay alike.

    Args:
        page: HTML with a head and SVG.
    """
    pictures = _SVG.findall(page)
    styles = Counter(style for svg in pictures for style in _STYLE.findall(svg))
    classes = {style: f"s{place}" for place, (style, count) in enumerate(styles.most_common()) if count > 2}
    names = dict.fromkeys(name for svg in pictures for name in _REFERENCE.findall(svg))
    ids = {name: f"g{place}" for place, name in enumerate(names)}

    def short(match: re.Match[str]) -> str:
        svg = _STYLE.sub(lambda style: f' class="{classes[style[1]]}"' if style[1] in classes else style[0], match[0])
        svg = re.sub(r' id="([^"]+)"', lambda name: f' id="{ids[name[1]]}"' if name[1] in ids else name[0], svg)
        return _REFERENCE.sub(lambda name: name[0].replace(name[1], ids[name[1]]), svg)

    rules = "".join(f".{name} {{ {style} }}\n" for style, name in classes.items())
    return _SVG.sub(short, page).replace("</head>", f"<style>\n{rules}</style>\n</head>", 1)


def smaller(png: bytes) -> bytes:
    """Reduces a PNG to GREYS shades, or to COLOURS colours where it is not grey."""
    image = Image.open(io.BytesIO(png))
    channels = np.asarray(image.convert("RGBA"))
    red, green, blue, opacity = np.moveaxis(channels, -1, 0)
    if (red == green).all() and (green == blue).all() and (opacity == 255).all():
        step = 255 / (GREYS - 1)
        shades = np.round(np.round(red / step) * step).astype(np.uint8)
        small, bits = Image.fromarray(shades).quantize(GREYS), {"bits": 4}
    else:
        small, bits = Image.fromarray(channels).quantize(COLOURS, Image.Quantize.FASTOCTREE), {}
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True, **bits)
    return min(buffer.getvalue(), png, key=len)


def png_uri(png: bytes) -> str:
    """A PNG as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _shorter(tag: str) -> str:
    """A tag of an SVG without what the page can do without; the text between tags stays."""
    if tag.startswith("<image"):
        return tag
    tag = re.sub(r" font-family: [^;\"]*;?", "", tag)
    tag = re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", tag)
    tag = re.sub(r"(?<=[\s\"(,])(-?\d+\.\d{2})\d+", r"\1", tag)
    return re.sub("(?<=: )#[0-9a-fA-F]{6}", lambda match: _colour(match[0]), tag)


def _colour(code: str) -> str:
    variable = _COLOURS.get(code.upper())
    if variable is None and code[1:3] == code[3:5] == code[5:7] and code[1:3].upper() >= "D8":
        variable = "--stripe"  # light greys fill areas
    return code if variable is None else f"var({variable})"
