"""What a subject must satisfy: one claim a test, judged over many cases."""

import importlib
import pkgutil

from rnn_ref.judging.properties import Property


def properties() -> dict[str, Property]:
    """Collect all properties, by name."""
    names = [f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)]
    modules = [vars(importlib.import_module(name)) for name in names]
    return {
        name: value.rnn_property
        for module in modules
        for name, value in module.items()
        if hasattr(value, "rnn_property")
    }
