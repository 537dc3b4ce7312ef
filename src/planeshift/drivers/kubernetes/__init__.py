"""A Kubernetes cluster, by its API and the helm program. Implements `ports.Cluster`."""

from __future__ import annotations

from planeshift.drivers.kubernetes.cluster import KubernetesCluster

__all__ = ["KubernetesCluster"]
