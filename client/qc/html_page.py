"""The data check as one HTML page that needs no other file."""

import base64
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment

from client.qc.case_check import CaseCheck
from client.qc.dataset_check import DatasetCheck, number
from client.qc.montage import draw_case
from shared.errors import ResultsError


def write_page(dataset: DatasetCheck, path: Path, when: datetime) -> None:
    """Write the page. Raises `ResultsError` where it cannot be written."""
    environment = Environment(autoescape=True, trim_blocks=True)
    environment.filters |= {
        "state": state,
        "state_class": _state_class,
        "capitalized": _capitalized,
        "number": number,
    }
    template = environment.from_string(files("client.qc").joinpath("page.html").read_text(encoding="utf-8"))
    pictures = [
        (one, "" if one.view is None else base64.b64encode(draw_case(one.view)).decode()) for one in dataset.checked
    ]
    text = template.render(dataset=dataset, pictures=pictures, when=f"{when:%Y-%m-%d %H:%M}")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"{path} cannot be written ({error.strerror}): choose another folder") from None


def state(checked: CaseCheck) -> str:
    """Its verdict in words, with a sign that does without colour."""
    if not checked.ok:
        return "✗ set aside"
    return "! warning" if checked.warnings else "✓ good"


def _state_class(checked: CaseCheck) -> str:
    return "bad" if not checked.ok else "warn" if checked.warnings else "good"


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
