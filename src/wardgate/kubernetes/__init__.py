"""
A Kubernetes API as the place that a configuration comes from, and that is told what became of it.

`client.py` speaks to the API server, `cache.py` keeps its objects here by watching them, `source.py` gives them to the
supervisor, `statuses.py` says in Kubernetes' words what became of an object, `reporter.py` writes that, `election.py` lets one
of several replicas do so. Nothing here knows what an object means: that is `wardgate.dialects.gateway_api`.
"""

from collections.abc import Mapping

from wardgate.kubernetes.client import Client
from wardgate.kubernetes.source import Cluster, Settings

CODES: Mapping[str, str] = {
    "kubernetes-away": "The API server does not answer; what is in force stays.",
    "kubernetes-credentials": "No kubeconfig and no service account say how to reach an API server.",
}
"""What can be wrong with the way to an API server."""

__all__ = ["CODES", "Client", "Cluster", "Settings"]
