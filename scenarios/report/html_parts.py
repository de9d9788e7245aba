"""What all pages are made of: one file each, light or dark as its reader has it, that asks for no other file."""

import base64
from importlib.resources import files

from jinja2 import Environment, FunctionLoader
from markupsafe import Markup

from scenarios.report.figures import Picture, to_svg
from scenarios.report.style import DARK, LIGHT


def render_page(template: str, **values: object) -> str:
    """The text of a page from one of the templates beside this module, which `base.html` frames."""
    loader = FunctionLoader(lambda name: files("scenarios.report").joinpath(name).read_text(encoding="utf-8"))
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.globals |= {"light": LIGHT, "dark": DARK, "width": _width}
    return environment.get_template(template).render(values)


def both_themes(picture: Picture, svg: str) -> Markup:
    """A drawing, light and dark, of which the browser shows the one that fits; `svg` is the light one."""
    dark = to_svg(picture.dark_figure, picture.name)
    return Markup('<picture><source media="{}" srcset="{}">{}</picture>').format(
        "screen and (prefers-color-scheme: dark)",
        _data_uri("image/svg+xml", dark.encode()),
        _image("image/svg+xml", svg.encode(), picture.alternative),
    )


def raster(png: bytes, alternative: str) -> Markup:
    """A picture made of voxels, the same on every page."""
    return _image("image/png", png, alternative)


def _image(kind: str, content: bytes, alternative: str) -> Markup:
    return Markup('<img src="{}" alt="{}">').format(_data_uri(kind, content), alternative)


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _width(picture: Picture) -> str:
    """How wide a picture is shown at most: its text is then about as large as the page's."""
    return f"{picture.figure.get_figwidth() * 104:.0f}px"
