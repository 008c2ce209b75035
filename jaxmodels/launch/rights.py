"""Rights in a Kubernetes cluster (RBAC): a run has none, who submits one needs a few."""

from typing import Any

ACCOUNT = "jaxmodels"  # of runs, where the user names no other
_RBAC = "rbac.authorization.k8s.io"
_SUBMITTER = "jaxmodels-submitter"
_READ = ["get", "list", "watch"]


def service_account() -> dict[str, Any]:
    """Makes the account of pods that ask nothing of the cluster: names lead to the first of them,
    and the engine starts them again. So it has no role, and pods get no token of it.

    One account for all runs of a namespace, so that the rights of a cloud, as to a bucket, are
    bound to it once; workload identity does without that token.
    """
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": ACCOUNT},
        "automountServiceAccountToken": False,
    }


def submitter_rights(kind: str, name: str) -> list[dict[str, Any]]:
    """Makes the role of who starts, watches and ends runs in a namespace, and its binding; an
    administrator applies both, once.

    kind: "User" or "Group".
    """
    rules = [
        (["jobset.x-k8s.io"], ["jobsets"], [*_READ, "create", "patch", "delete"], {}),
        # `kubectl apply` makes the account where it is missing. No rule can name what is created.
        ([""], ["serviceaccounts"], ["create"], {}),
        ([""], ["serviceaccounts"], ["get", "patch"], {"resourceNames": [ACCOUNT]}),
        ([""], ["pods", "pods/log", "events"], _READ, {}),
    ]
    role = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "Role",
        "metadata": {"name": _SUBMITTER},
        "rules": [
            {"apiGroups": groups, "resources": resources, "verbs": list(verbs), **more}
            for groups, resources, verbs, more in rules
        ],
    }
    binding = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": _SUBMITTER},
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": _SUBMITTER},
        "subjects": [{"apiGroup": _RBAC, "kind": kind, "name": name}],
    }
    return [role, binding]
