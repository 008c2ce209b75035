"""The batch script of Slurm."""

import shlex

from jaxmodels.launch.job import RESUMABLE, Job


def sbatch_script(job: Job) -> str:
    """Writes the script: a process per accelerator, or per machine where there are none, which jax
    connects by Slurm's own variables.

    Slurm sends SIGTERM before the time ends and at a preemption; the run then saves and stops at
    one step, and is queued again.
    """
    tasks = max(job.chips, 1)
    options = {
        "job-name": job.title,
        "nodes": str(job.hosts),
        "ntasks-per-node": str(tasks),
        **({"gpus-per-node": str(job.chips)} if job.chips else {}),
        "time": job.engine.get("time", "24:00:00"),
        "signal": "TERM@120",
        "output": f"{job.workdir}-%j.log",
        **{name: job.engine[name] for name in ("partition", "account") if name in job.engine},
    }
    lines = [f"#SBATCH --{name}={value}" for name, value in options.items()]
    command = job.command("--processes", '"$SLURM_NTASKS"')
    return f"""#!/bin/bash
{chr(10).join(lines)}
#SBATCH --requeue
#SBATCH --open-mode=append
# Submit from the project's folder; Slurm writes its log beside the run folder, so make that place:
#   mkdir -p {shlex.quote(job.folder)} && sbatch FILE

srun --wait=60 {command}
code=$?
cat {shlex.quote(job.workdir)}/status.json 2>/dev/null
if [ "$code" -eq {RESUMABLE} ]; then
  # Stopped on request: goes on from its last checkpoint.
  scontrol requeue "$SLURM_JOB_ID" && exit 0
fi
exit "$code"
"""
