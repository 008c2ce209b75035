"""jaxmodels: one engine trains any objective, exactly and fast, from a laptop to a pod.

README.md in this folder describes its packages and which of them may import which.
"""

__version__ = "0.1.0"
