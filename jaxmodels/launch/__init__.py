"""Manifests that start a run on a cluster or in a cloud. They are printed, for you to read and hand
to the engine that you have; this package starts nothing and talks to nobody.

What all of them do: every process runs the experiment's own command in one persistent run folder;
exit code 75 (stopped on request) starts it again, so that preemptions lose no step; bad input does
not; `python -m jaxmodels.launch health RUN` says whether a run still moves.
"""
