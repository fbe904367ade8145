"""Kinds of problems: each gives a Claim for a problem whose whole text it knows, and None for any other."""

from rolecast.proofs.kinds import (
    algebra,
    arithmetic,
    calculus,
    counting,
    geometry,
    integers,
    matrices,
    optimum,
    statistics,
)
from rolecast.proofs.problem import Kind

ALL: tuple[Kind, ...] = (
    statistics.KIND,
    integers.KIND,
    counting.KIND,
    geometry.KIND,
    matrices.KIND,
    calculus.KIND,
    optimum.KIND,
    algebra.KIND,
    arithmetic.KIND,
)
"""In the order in which they are asked: those with words of their own before those of bare expressions."""
