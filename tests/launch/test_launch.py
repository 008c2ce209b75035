"""Manifests: shells read them, they have the fields that engines require, and their blocks run."""

import gzip
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from jaxmodels.launch.__main__ import main
from jaxmodels.launch.health import health
from jaxmodels.launch.job import Job
from jaxmodels.launch.jobset import jobset
from jaxmodels.launch.skypilot import run_block, skypilot_task
from jaxmodels.launch.slurm import sbatch_script

FLAGS = ("--steps", "4", "--data", "a b")
RETURNED = [(0, False, 0), (75, True, 0), (2, False, 2)]


def _printed(capsys, *words):
    assert main(words) == 0
    return capsys.readouterr().out


def test_the_batch_script_is_one_that_bash_reads(tmp_path, capsys):
    words = "slurm --hosts 2 --chips 8 --partition gpu --time 1:00:00 classifier"
    text = _printed(capsys, *words.split(), *FLAGS)
    script = tmp_path / "run.sh"
    script.write_text(text)
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    options = dict(re.findall(r"#SBATCH --([\w-]+)(?:=(.*))?", text))
    assert options["nodes"] == "2" and options["ntasks-per-node"] == "8"
    assert options["gpus-per-node"] == "8" and options["partition"] == "gpu"
    assert options["signal"] == "TERM@120" and "requeue" in options
    assert "--data 'a b' --workdir runs/classifier-" in text
    assert '--processes "$SLURM_NTASKS"' in text


@pytest.mark.parametrize(("code", "asked", "returned"), RETURNED)
def test_a_stopped_run_is_queued_again(tmp_path, code, asked, returned):
    """With stand-ins for what Slurm has."""
    for name, body in (("srun", f"exit {code}"), ("scontrol", f"echo $@ > {tmp_path}/asked")):
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    script = tmp_path / "run.sh"
    script.write_text(sbatch_script(Job("classifier", FLAGS)))
    path = f"{tmp_path}:{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "SLURM_JOB_ID": "7", "SLURM_NTASKS": "1"}
    done = subprocess.run(["bash", script], env=variables, cwd=tmp_path)
    assert done.returncode == returned
    assert (tmp_path / "asked").exists() is asked
    if asked:
        assert (tmp_path / "asked").read_text() == "requeue 7\n"


def _schema(name):
    path = Path(__file__).with_name(f"{name}_schema.json.gz")
    return json.loads(gzip.decompress(path.read_bytes()))


def _jobset(text):
    return list(yaml.safe_load_all(text))[-1]


@pytest.mark.parametrize(
    "words",
    [
        "--hosts 4 --chips 8 --image me/run:1 --claim runs classifier --steps 4",
        "--chips 4 --image i --claim c --tpu tpu-v5p-slice --tpu-topology 2x2x1 gan",
        "--image i --restarts 3 vae --mirror gs://bucket/run",
    ],
)
def test_a_jobset_is_valid_by_its_published_schema(words, capsys):
    """That of v1alpha2, as kubernetes-sigs/jobset (commit 08dfbdfd, Apache 2.0) has it in
    config/components/crd, without descriptions; fields that it does not know are errors."""
    import jsonschema

    made = _jobset(_printed(capsys, "jobset", *words.split()))
    validator = jsonschema.Draft202012Validator(_schema("jobset"))
    assert not list(validator.iter_errors(made))
    made["spec"]["replicatedJobs"][0]["template"]["spec"]["completion"] = 1
    del made["spec"]["failurePolicy"]["rules"][0]["name"]
    assert len(list(validator.iter_errors(made))) == 2


def test_a_jobset_has_what_kubernetes_requires(capsys):
    """Beyond the schema: rules of Kubernetes' Job and of JobSet's names."""
    words = "jobset --hosts 4 --chips 8 --image me/run:1 --claim runs --name big classifier"
    made = _jobset(_printed(capsys, *words.split(), *FLAGS))
    assert made == jobset(
        Job("classifier", FLAGS, 4, 8, "big", "/runs", {"image": "me/run:1", "claim": "runs"})
    )
    assert (made["apiVersion"], made["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (group,) = made["spec"]["replicatedJobs"]
    assert {"name", "template"} <= group.keys() and group["replicas"] == 1
    job = group["template"]["spec"]
    assert job["completions"] == job["parallelism"] == 4 and job["completionMode"] == "Indexed"
    # A failure policy of pods is only allowed where pods are never restarted in place.
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never" and job["backoffLimit"] == 0
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2]
    (container,) = pod["containers"]
    assert {"name", "image", "command"} <= container.keys()
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 8}
    assert {v["name"] for v in pod["volumes"]} == {m["name"] for m in container["volumeMounts"]}
    network = made["spec"]["network"]
    port = container["ports"][0]["containerPort"]
    first = f"big-{group['name']}-0-0.{network['subdomain']}:{port}"
    assert network["enableDNSHostnames"] and f"--coordinator {first} " in container["command"][2]
    assert '--processes 4 --process-id "$JOB_COMPLETION_INDEX"' in container["command"][2]
    tpu = jobset(Job("gan", (), 2, 4, engine={"image": "i", "claim": "c", "tpu": "tpu-v5p-slice"}))
    pod = tpu["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-accelerator"] == "tpu-v5p-slice"
    assert pod["containers"][0]["resources"]["limits"] == {"google.com/tpu": 4}


_OF_KIND = {
    "ServiceAccount": "io.k8s.api.core.v1.ServiceAccount",
    "Role": "io.k8s.api.rbac.v1.Role",
    "RoleBinding": "io.k8s.api.rbac.v1.RoleBinding",
}


def _errors(document):
    """By the schemas of Kubernetes 1.36, as kubernetes-client/python (commit 02465849, Apache 2.0)
    has them in kubernetes/swagger.json.unprocessed, without descriptions; fields that they do not
    know are errors."""
    import jsonschema

    schema = {**_schema("kubernetes"), "$ref": f"#/definitions/{_OF_KIND[document['kind']]}"}
    return list(jsonschema.Draft202012Validator(schema).iter_errors(document))


def test_pods_have_an_account_without_rights(capsys):
    flags = ("--image", "i", "--claim", "c")
    text = _printed(capsys, "jobset", *flags, "classifier", *FLAGS)
    account, made = yaml.safe_load_all(text)
    assert not _errors(account)
    assert _errors({**account, "automountServiceAccountToken": "false"})
    assert account["automountServiceAccountToken"] is False
    pod = made["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    assert pod["automountServiceAccountToken"] is False
    flags = (*flags, "--service-account", "mine")
    (made,) = yaml.safe_load_all(_printed(capsys, "jobset", *flags, "classifier", *FLAGS))
    pod = made["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "mine"


@pytest.mark.parametrize(("flag", "kind"), [("--user", "User"), ("--group", "Group")])
def test_who_submits_gets_the_rights_that_this_takes(flag, kind, capsys):
    role, binding = yaml.safe_load_all(_printed(capsys, "rights", flag, "ada@example.org"))
    assert not _errors(role) and not _errors(binding)
    assert _errors({**binding, "roleRef": {}})
    subject = {"kind": kind, "name": "ada@example.org", "apiGroup": "rbac.authorization.k8s.io"}
    assert binding["subjects"] == [subject]
    reference = binding["roleRef"]
    assert (reference["kind"], reference["name"]) == ("Role", role["metadata"]["name"])
    # `kubectl apply` of each document reads, makes and changes it.
    text = _printed(capsys, "jobset", "--image", "i", "--claim", "c", "classifier", *FLAGS)
    for document in yaml.safe_load_all(text):
        group = document["apiVersion"].rpartition("/")[0]
        resource = f"{document['kind'].lower()}s"
        name = document["metadata"]["name"]
        verbs = {
            verb
            for rule in role["rules"]
            if group in rule["apiGroups"] and resource in rule["resources"]
            if name in rule.get("resourceNames", [name])
            for verb in rule["verbs"]
        }
        assert verbs >= {"get", "create", "patch"}


def test_a_run_with_a_mirror_needs_no_disk_that_outlives_its_machine(capsys):
    flags = ("classifier", "--mirror", "gs://bucket/run", *FLAGS)
    pod = _jobset(_printed(capsys, "jobset", "--image", "i", *flags))
    pod = pod["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert pod["volumes"] == [{"name": "runs", "emptyDir": {}}]
    assert "--mirror gs://bucket/run" in pod["containers"][0]["command"][2]
    task = yaml.safe_load(_printed(capsys, "skypilot", *flags))
    assert "file_mounts" not in task and "[cloud]" in task["setup"]
    assert "--mirror gs://bucket/run" in task["run"] and "--workdir runs/" in task["run"]
    # Several machines write one folder.
    assert main(["jobset", "--hosts", "2", "--image", "i", *flags]) == 2
    assert "claim is not given" in capsys.readouterr().err
    two = yaml.safe_load(_printed(capsys, "skypilot", "--hosts", "2", *flags))
    assert list(two["file_mounts"]) == ["/runs"] and "[cloud]" in two["setup"]


def test_a_task_of_skypilot_recovers_a_stopped_run(capsys):
    made = yaml.safe_load(_printed(capsys, "skypilot", "--hosts", "2", "classifier", *FLAGS))
    assert made == skypilot_task(Job("classifier", FLAGS, 2, folder="/runs"))
    assert made["num_nodes"] == 2
    assert made["resources"]["job_recovery"]["recover_on_exit_codes"] == [75]
    assert "|" in _printed(capsys, "skypilot", "classifier")  # a block that people can read


@pytest.mark.hosts
def test_the_block_of_a_task_runs_here(tmp_path):
    """On two machines that are this one, with the variables that SkyPilot sets."""
    job = Job("classifier", ("--steps", "2", "--model", "mlp", "--hidden", "4"), 2, 0, "x")
    block = run_block(job).replace("python -m", f"{sys.executable} -m")
    folder = tmp_path / "runs"
    block = block.replace("runs/x", f"{folder}/x").replace(":7777", f":{_free_port()}")
    variables = {
        **os.environ,
        "SKYPILOT_NODE_IPS": "127.0.0.1\n127.0.0.1",
        "SKYPILOT_NUM_NODES": "2",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
    }
    processes = [
        subprocess.Popen(
            ["bash", "-c", block],
            env={**variables, "SKYPILOT_NODE_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    status = json.loads((folder / "x/status.json").read_text())
    assert '"finished"' in outputs[0], "the block shows the status"
    assert (status["status"], status["step"], status["processes"]) == ("finished", 2, 2)


def _free_port():
    import socket

    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("slurm classifier --workdir x", "--workdir is given; the launcher sets it"),
        ("slurm --hosts 0 classifier", "hosts = 0, chips = 0; expected at least 1 and 0"),
        ("jobset --name Big_Run classifier", "name = Big_Run; expected at most 40 small letters"),
        ("jobset --image i classifier", "claim is not given; expected --image IMAGE"),
        ("skypilot --chips 8 classifier", "expected their name too: --accelerator H100"),
        ("rights", "one of the arguments --user --group is required"),
        ("slurm", "the following arguments are required: experiment"),
        ("ray classifier", "invalid choice: 'ray'"),
    ],
)
def test_what_cannot_be_launched_is_refused(words, message, capsys):
    assert main(words.split()) == 2
    assert message in capsys.readouterr().err


def test_health_tells_a_run_that_moves_from_one_that_hangs(tmp_path, capsys):
    (tmp_path / "status.json").write_text('{"status": "running", "step": 3}')
    now = time.time()
    assert health(tmp_path, 60, now + 50)[0]
    is_well, line = health(tmp_path, 60, now + 100)
    assert not is_well and line.startswith("running at step 3, silent for 100 s")
    (tmp_path / "speed.jsonl").write_text("")
    os.utime(tmp_path / "speed.jsonl", (now + 90, now + 90))
    assert health(tmp_path, 60, now + 100)[0]
    for status, well in (("stopped", True), ("finished", True), ("failed", False)):
        (tmp_path / "status.json").write_text(json.dumps({"status": status, "step": 3}))
        assert health(tmp_path, 60, now + 9000)[0] is well
    assert main(["health", str(tmp_path)]) == 1
    assert main(["health", str(tmp_path / "none")]) == 2
