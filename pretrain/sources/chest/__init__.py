"""Simulated chest radiographs with exact truth. Everything made here is labelled simulated.

>>> from pretrain.sources.chest import generate_case, simulate
>>> case = generate_case(seed=0, patient=7, size=256)
>>> simulate(Path("data/simulated"), patients=200, seed=0)
"""

from .case import Case, generate_case
from .findings import FINDINGS
from .simulate import SimulationError, SimulationReport, simulate

__all__ = ["FINDINGS", "Case", "SimulationError", "SimulationReport", "generate_case", "simulate"]
