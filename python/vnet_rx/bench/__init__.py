"""Benchmark results in Python: Criterion's tree read, strategies compared, results kept and shown.

The package that would do this, criterion-py-compat, exists in no registry; this module takes its
place. It needs neither the native module nor anything outside the standard library.

    from vnet_rx.bench import read, compare_strategies

    results = read("target/criterion")
    for comparison in compare_strategies(results.times):
        print(comparison.name, comparison.ratio, comparison.change)
"""

from vnet_rx.bench.comparison import Comparison, compare, compare_strategies
from vnet_rx.bench.criterion import Cell, Estimate, load
from vnet_rx.bench.machine import describe
from vnet_rx.bench.results import Results, dumps, read

__all__ = [
    "Cell",
    "Comparison",
    "Estimate",
    "Results",
    "compare",
    "compare_strategies",
    "describe",
    "dumps",
    "load",
    "read",
]
