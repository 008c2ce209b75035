"""Several processes as one run: how they find each other, and what they decide together.

Every process runs the same program. The first alone writes files and lines; what it reads or
decides reaches the others through the coordination service of `jax.distributed`, which also ends
all of them when one is gone.
"""

import functools
import itertools
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from jaxmodels.errors import InputError, RunError

# Variables by which launchers say how many processes there are.
_COUNTS = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
# Variables of launchers whose processes jax knows how to connect.
_LAUNCHED = (
    ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID"),
    ("OMPI_MCA_orte_hnp_uri", "OMPI_COMM_WORLD_RANK"),
    ("TPU_WORKER_HOSTNAMES", "TPU_WORKER_ID"),
    ("CLOUD_TPU_TASK_ID",),
    ("MEGASCALE_COORDINATOR_ADDRESS",),
    ("JOBSET_NAME", "JOB_COMPLETION_INDEX"),
)
_CONNECTED = 300  # seconds in which all processes have to be there
_ALIVE = 30  # seconds of silence after which a process counts as dead
_PATIENCE = 24 * 3600  # seconds for which the others wait for the first one, while it lives
_SEEN = 60  # seconds after which every process sees a new file on a shared disk
_KEPT = 1000  # latest answers of the first process that are kept; no other is further behind
_numbers = itertools.count()


def connect(
    coordinator: str | None = None, processes: int | None = None, process_id: int | None = None
) -> None:
    """Connects this process with those that run the same command, before jax looks for devices.

    With a coordinator all three are needed. Otherwise a launcher that jax knows says who they are
    (Slurm, Open MPI, Kubernetes, Cloud TPU), and `processes` is what they are compared with.

    Raises:
      InputError: there are other processes than asked for, or they cannot be found.
    """
    if jax.distributed.is_initialized():
        return _require_count(processes)
    if coordinator is not None:
        _require_whole(coordinator, processes, process_id)
        how: dict[str, Any] = {"num_processes": processes, "process_id": process_id}
        if "KUBERNETES_SERVICE_HOST" in os.environ and not any(map(os.environ.get, _COUNTS)):
            # Otherwise jax asks the cluster for what is given, and a pod may ask it nothing.
            how["cluster_detection_method"] = "deactivate"
        _initialize(coordinator_address=coordinator, **how)
    elif process_id is not None:
        raise InputError(f"process_id = {process_id}; expected --coordinator HOST:PORT with it")
    elif _is_launched(os.environ):
        _initialize()
    _require_count(processes)
    if jax.process_count() > 1 and not is_first():
        # Only the first process prints; each writes its errors to `stream_of_errors`.
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # until the end


def _is_launched(variables: Mapping[str, str]) -> bool:
    """Whether a launcher has started several processes, which jax can connect."""
    counts = {variables[name] for name in _COUNTS if name in variables}
    if counts == {"1"}:
        return False
    return any(all(name in variables for name in names) for names in _LAUNCHED)


def _require_whole(coordinator: str, processes: int | None, process_id: int | None) -> None:
    if processes is None or process_id is None or not 0 <= process_id < processes:
        raise InputError(
            f"coordinator = {coordinator}, processes = {processes}, process_id = {process_id};"
            " expected --processes N and --process-id I with 0 <= I < N in each process"
        )
    if not coordinator.rpartition(":")[2].isdecimal() or ":" not in coordinator:
        raise InputError(f"coordinator = {coordinator}; expected HOST:PORT, as 10.0.0.1:1234")


def _initialize(**how: Any) -> None:
    # JAX's own answer to SIGTERM would replace ours, with which a run stops.
    config: Any = jax.config
    config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            **how,
            initialization_timeout=_CONNECTED,
            heartbeat_timeout_seconds=_ALIVE,
            shutdown_timeout_seconds=2 * _ALIVE,
        )
    except (RuntimeError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the processes cannot be connected: {first}; expected all of them to run the same"
            " command at once"
        ) from None


def _require_count(processes: int | None) -> None:
    """Raises InputError where the processes are others than asked for: they would train apart."""
    if processes is None and jax.distributed.is_initialized():
        counts = [int(os.environ[name]) for name in _COUNTS if os.environ.get(name, "").isdecimal()]
        processes = counts[0] if counts else None
    if processes is not None and processes != jax.process_count():
        raise InputError(
            f"processes = {processes}; expected as many as there are, and there are"
            f" {jax.process_count()}: start {processes} by srun, mpirun or the cluster, or give"
            " each --coordinator HOST:PORT --process-id I"
        )


def are_connected() -> bool:
    """Whether this is one of several processes; no device is looked for."""
    return jax.distributed.is_initialized()


def stream_of_errors() -> Any:
    """Returns where errors are written: every process has its own."""
    return sys.stderr if not are_connected() else sys.__stderr__ or sys.stderr


def is_first() -> bool:
    """Whether this is the process that writes."""
    return jax.process_index() == 0


def by_first(method: Callable[..., None]) -> Callable[..., None]:
    """Makes a method that only the first process carries out."""

    @functools.wraps(method)
    def call(*arguments: Any, **named: Any) -> None:
        if is_first():
            method(*arguments, **named)

    return call


def first_only(function: Callable[[], object]) -> None:
    """Calls a function in the first process only; the others wait until it is done."""
    from_first(lambda: function() and None)


def require_one_process(what: str) -> None:
    """Raises InputError in a run of several processes."""
    if jax.process_count() > 1:
        raise InputError(
            f"{what}, processes = {jax.process_count()}; expected one process, which restores"
            " checkpoints of any number: run it without srun, and with --mesh data=1"
        )


def require_shared(devices: int, folder: Path) -> None:
    """Raises InputError where several processes would each train the run of this folder on a device
    of their own, as they would a judge: all would write it."""
    if jax.process_count() > 1 and devices == 1:
        raise InputError(
            f"workdir {folder} is of a run on one device, and there are {jax.process_count()}"
            " processes; expected it to be finished: run the same command in one process first,"
            " with --steps 1 and a --workdir of its own"
        )


def require_same_folder(folder: Path) -> None:
    """Raises InputError where the processes have folders of their own under one name, of which the
    first would copy its part of the state only."""
    if jax.process_count() == 1:
        return

    def mark() -> str:
        folder.mkdir(parents=True, exist_ok=True)
        mark = folder / f".{secrets.token_hex(8)}.partial"
        mark.touch()
        return mark.name

    mark_of_first = folder / from_first(mark)
    until = time.monotonic() + _SEEN
    while not (is_seen := mark_of_first.exists()) and time.monotonic() < until:
        time.sleep(0.1)
    if not is_seen:
        raise InputError(
            f"workdir {folder} is another folder in process {jax.process_index()} than in the"
            " first; expected one on a disk that all of them share, beside --mirror"
        )
    wait_for_all("seen")
    first_only(mark_of_first.unlink)


def from_first(make: Callable[[], Any]) -> Any:
    """Calls a function in the first process only, and returns what it returned, as JSON, in all.

    Raises:
      RunError: in the others, where the first failed or is gone.
    """
    if jax.process_count() == 1:
        return make()
    client, number = _client(), next(_numbers)
    key = f"jaxmodels/{number}"
    if is_first():
        if number >= _KEPT:
            client.key_value_delete(f"jaxmodels/{number - _KEPT}")
        try:
            value = make()
        except BaseException as error:
            client.key_value_set(key, json.dumps({"error": str(error)}))
            raise
        client.key_value_set(key, json.dumps({"value": value}))
        return value
    found = json.loads(_waited(lambda: client.blocking_key_value_get(key, 1000 * _PATIENCE)))
    if "error" in found:
        raise RunError(f"the first process failed: {found['error']}")
    return found["value"]


def wait_for_all(name: str) -> None:
    """Waits until every process is here."""
    if jax.process_count() > 1:
        number = next(_numbers)
        _waited(lambda: _client().wait_at_barrier(f"jaxmodels/{name}/{number}", 1000 * _PATIENCE))


def any_requests(requested: bool) -> bool:
    """Whether any process was asked to stop: the same answer in all of them, at the same step.

    The first process answers. A request to another one may reach it a call later.
    """
    if jax.process_count() == 1:
        return requested
    client = _client()
    if requested and not is_first():
        client.key_value_set("jaxmodels/stop", "1", allow_overwrite=True)

    def is_asked() -> bool:
        return requested or _has(client, "jaxmodels/stop")

    return from_first(is_asked)


def _has(client: Any, key: str) -> bool:
    try:
        return client.key_value_try_get(key) is not None
    except jax.errors.JaxRuntimeError as error:
        if "NOT_FOUND" in str(error):
            return False
        raise


def _waited(wait: Callable[[], Any]) -> Any:
    try:
        return wait()
    except jax.errors.JaxRuntimeError as error:
        first = str(error).splitlines()[0][:200]
        raise RunError(f"another process is gone: {first}") from None


def _client() -> Any:
    # JAX has no public name for what its own barriers use.
    from jax._src import distributed

    return distributed.global_state.client
