"""Putting modules of our own in the place of a network's."""

from collections.abc import Callable
from typing import TypeVar

from torch import nn

Part = TypeVar("Part", bound=nn.Module)


def swap(network: nn.Module, kind: type[Part], make: Callable[[Part], nn.Module]) -> None:
    """Put what `make` gives for it in the place of each module of one kind, however deep it lies."""
    for name, part in network.named_children():
        if isinstance(part, kind):
            setattr(network, name, make(part))
        else:
            swap(part, kind, make)
