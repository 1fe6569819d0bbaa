"""The catalogue of planted faults, a chapter a module: each, and the property that finds it.

Most are of the classes of real faults in RNN layers. An escaped fault enters here before
the property that finds it is written.
"""

import importlib
import pkgutil

from tests.faults.catalogue import FAULTS, Fault

for module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{module.name}")  # which enters its faults

__all__ = ["FAULTS", "Fault"]
