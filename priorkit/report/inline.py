"""Images inside a page: SVG in the page's text colour, and data URIs."""

import base64
import io
import re

import matplotlib
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

__all__ = ["image_uri", "inline_svg", "png_data", "png_uri"]

SMALLEST = 96
"""Size in pixels below which an image is stored enlarged, for viewers that would blur it."""


def inline_svg(figure: Figure, name: str) -> str:
    """Return the figure as an SVG element for a page, without background; black becomes the page's text colour.

    `name` makes the identifiers inside unique in the page.
    """
    figure.patch.set_alpha(0)
    for axis in figure.axes:
        axis.patch.set_alpha(0)
        if (legend := axis.get_legend()) is not None:
            legend.get_frame().set_alpha(0)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = text.replace("#000000", "currentColor")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    return re.sub(r'(url\(|href=")#', rf"\1#{name}-", text)


def image_uri(picture: Tensor) -> str:
    """Return an image (H, W, C) in [0, 1] as a PNG data URI; small images have their pixels enlarged to blocks."""
    array = (picture.clamp(0, 1) * 255).round().byte().numpy().squeeze()
    image = Image.fromarray(array)
    factor = -(-SMALLEST // min(image.size))
    if factor > 1:
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return png_data(buffer.getvalue())


def png_uri(figure: Figure) -> str:
    """Return a figure as a PNG data URI, for figures with too many elements for SVG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return png_data(buffer.getvalue())


def png_data(content: bytes) -> str:
    """Return the bytes of a PNG file as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
