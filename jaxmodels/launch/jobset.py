"""The manifest of a JobSet (jobset.sigs.k8s.io), for Kubernetes."""

from typing import Any

from jaxmodels.errors import InputError
from jaxmodels.launch.job import BAD_INPUT, PORT, Job
from jaxmodels.launch.rights import ACCOUNT, service_account

_GROUP = "hosts"
_SILENCE = 3600  # seconds without a new line after which a run counts as stuck


def manifests(job: Job) -> list[dict[str, Any]]:
    """Makes all that a run needs: its account, where the user names none, and the JobSet.

    Raises:
      InputError: as `jobset`.
    """
    own = [] if "service_account" in job.engine else [service_account()]
    return [*own, jobset(job)]


def jobset(job: Job) -> dict[str, Any]:
    """Makes the manifest: an indexed Job with a pod per machine.

    JobSet itself makes the headless service of the network's subdomain, and takes it away with the
    run. It gives pods names, by which they find the first one, so that no pod needs rights in the
    cluster. A pod that ends with an error, preempted or stopped,
    makes all start again; bad input ends the JobSet.

    Raises:
      InputError: no image, or no volume claim for the run folder, where no bucket keeps the run.
    """
    needed = ("image", "claim") if job.needs_disk else ("image",)
    missing = [name for name in needed if name not in job.engine]
    if missing:
        raise InputError(
            f"{missing[0]} is not given; expected --image IMAGE (with the project and its packages"
            " in the working directory) and --claim NAME of a volume that all pods can write, which"
            " a run on one host with --mirror URL does without"
        )
    work = {
        "completionMode": "Indexed",
        "completions": job.hosts,
        "parallelism": job.hosts,
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onExitCodes": {
                        "containerName": "run",
                        "operator": "In",
                        "values": [BAD_INPUT],
                    },
                }
            ]
        },
        "template": {"spec": _pod(job)},
    }
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": job.title},
        "spec": {
            "network": {
                "enableDNSHostnames": True,
                "subdomain": job.title,
                "publishNotReadyAddresses": True,
            },
            "failurePolicy": {
                "maxRestarts": int(job.engine.get("restarts", "1000")),
                "rules": [
                    {
                        "name": "badInput",
                        "action": "FailJobSet",
                        "onJobFailureReasons": ["PodFailurePolicy"],
                    }
                ],
            },
            "replicatedJobs": [{"name": _GROUP, "replicas": 1, "template": {"spec": work}}],
        },
    }


def _pod(job: Job) -> dict[str, Any]:
    """Makes what each machine runs."""
    first = f"{job.title}-{_GROUP}-0-0.{job.title}"
    command = job.command(
        "--coordinator", f"{first}:{PORT}", "--processes", str(job.hosts), "--process-id",
        '"$JOB_COMPLETION_INDEX"',
    )  # fmt: skip
    container: dict[str, Any] = {
        "name": "run",
        "image": job.engine["image"],
        "command": ["bash", "-c", f"exec {command}"],
        "ports": [{"containerPort": PORT}],
        "resources": _resources(job),
        "volumeMounts": [{"name": "runs", "mountPath": job.folder}],
        "livenessProbe": {
            "exec": {
                "command": [
                    "python", "-m", "jaxmodels.launch", "health", job.workdir, "--within",
                    str(_SILENCE),
                ]
            },
            "initialDelaySeconds": _SILENCE,
            "periodSeconds": 300,
            "timeoutSeconds": 60,
        },
    }  # fmt: skip
    pod: dict[str, Any] = {
        "serviceAccountName": job.engine.get("service_account", ACCOUNT),
        "automountServiceAccountToken": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 120,
        "containers": [container],
        "volumes": [{"name": "runs", **_volume(job)}],
    }
    if "tpu" in job.engine:
        pod["nodeSelector"] = {
            "cloud.google.com/gke-tpu-accelerator": job.engine["tpu"],
            "cloud.google.com/gke-tpu-topology": job.engine.get("tpu_topology", "2x4"),
        }
    return pod


def _volume(job: Job) -> dict[str, Any]:
    if "claim" not in job.engine:
        return {"emptyDir": {}}
    return {"persistentVolumeClaim": {"claimName": job.engine["claim"]}}


def _resources(job: Job) -> dict[str, Any]:
    if not job.chips:
        return {}
    name = "google.com/tpu" if "tpu" in job.engine else "nvidia.com/gpu"
    return {"limits": {name: job.chips}}
