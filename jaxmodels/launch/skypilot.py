"""The task of SkyPilot, for AWS, Azure, Google Cloud and others."""

from typing import Any

from jaxmodels.errors import InputError
from jaxmodels.launch.job import PORT, RESUMABLE, Job


def skypilot_task(job: Job) -> dict[str, Any]:
    """Makes the task of a managed job (`sky jobs launch FILE`), which SkyPilot starts again on
    other machines when these are taken away.

    The folder of the runs is a bucket, mounted with a cache on the machine's disk; for a run with
    --mirror, the disk itself. Several machines that write one run need a shared volume there
    instead.

    Raises:
      InputError: accelerators without a name.
    """
    if job.chips and "accelerator" not in job.engine:
        raise InputError(
            f"chips = {job.chips}; expected their name too: --accelerator H100, as sky show-gpus"
            " lists them"
        )
    bucket = {"name": job.engine.get("bucket", "jaxmodels-runs"), "mode": "MOUNT_CACHED"}
    accelerators = f"{job.engine.get('accelerator')}:{job.chips}"
    return {
        "name": job.title,
        "num_nodes": job.hosts,
        "workdir": ".",
        "resources": {
            **({"accelerators": accelerators} if job.chips else {}),
            "use_spot": True,
            "job_recovery": {"recover_on_exit_codes": [RESUMABLE], "max_restarts_on_errors": 3},
        },
        **({"file_mounts": {job.folder: bucket}} if job.needs_disk else {}),
        "setup": "pip install -e '.[cloud]'" if job.has_mirror else "pip install -e .",
        "run": run_block(job),
    }


def run_block(job: Job) -> str:
    """Writes what every machine runs."""
    command = job.command(
        "--coordinator",
        f'"$first:{PORT}"',
        "--processes",
        '"$SKYPILOT_NUM_NODES"',
        "--process-id",
        '"$SKYPILOT_NODE_RANK"',
    )
    return f"""first=$(echo "$SKYPILOT_NODE_IPS" | head -n 1)
{command}
code=$?
cat {job.workdir}/status.json 2>/dev/null
exit $code
"""
