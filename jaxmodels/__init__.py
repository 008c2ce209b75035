"""jaxmodels: one engine trains any objective, exactly and fast, from a laptop to a pod.

Rooms, each importing only from those below it: `train`, `objectives`, `models` and `data`,
then `metrics`, then `ops`. `protocol` and `errors` may be imported from anywhere.
"""

__version__ = "0.1.0"
