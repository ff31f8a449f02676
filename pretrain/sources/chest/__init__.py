"""Simulated chest radiographs with exact truth. Everything made here is labelled simulated.

>>> from pretrain.sources.chest import generate_case, simulate
>>> case = generate_case(seed=0, patient=7, size=256)
>>> simulate(Path("data/simulated"), patients=200, seed=0)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .case import Case, generate_case
    from .findings import FINDINGS
    from .folder import SimulationError, SimulationReport, simulate

__all__ = ["FINDINGS", "Case", "SimulationError", "SimulationReport", "generate_case", "simulate"]

_HOME = {
    "Case": "case",
    "generate_case": "case",
    "FINDINGS": "findings",
    "SimulationError": "folder",
    "SimulationReport": "folder",
    "simulate": "folder",
}


def __getattr__(name: str) -> Any:
    """Load a part when it is first asked for: the command line imports this package to show its help."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
