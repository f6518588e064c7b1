"""Runs tasks in other processes: of this machine, or of a Ray cluster.

Both take a *maker*, an object that can be pickled: each process calls it once with its place, and
then calls what it made with task after task. Both report each task as it ends, and hand back those
whose process died, which the caller may give in again.
"""

from nprep._workers.base import Ended, Workers
from nprep._workers.cluster import RayCluster
from nprep._workers.local import LocalWorkers, check_can_start, leave_unguarded_script

__all__ = [
    "Ended",
    "LocalWorkers",
    "RayCluster",
    "Workers",
    "check_can_start",
    "leave_unguarded_script",
]
