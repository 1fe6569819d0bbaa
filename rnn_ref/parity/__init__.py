"""What a subject must satisfy: one claim a test, judged over many cases."""

import importlib
import pkgutil


def properties() -> dict[str, str]:
    """The docstrings of all properties, by name."""
    names = [f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)]
    found = [vars(importlib.import_module(name)) for name in names]
    return {
        name: thing.__doc__ or ""
        for module in found
        for name, thing in module.items()
        if hasattr(thing, "rnn_property")
    }
