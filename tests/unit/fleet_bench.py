"""The benchmark of the fleet for tests: its scripts lie in a folder of their own and are no package."""

import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[2] / "bench"

sys.path.insert(0, str(BENCH))
try:
    import fleet
    import fleet_make_traces
    import fleet_peers
    import fleet_picture
    import fleet_policy
    import fleet_report
    import fleet_rolecast
    import fleet_simulator
    import fleet_workload
finally:
    sys.path.remove(str(BENCH))

__all__ = [
    "BENCH",
    "fleet",
    "fleet_make_traces",
    "fleet_peers",
    "fleet_picture",
    "fleet_policy",
    "fleet_report",
    "fleet_rolecast",
    "fleet_simulator",
    "fleet_workload",
]
