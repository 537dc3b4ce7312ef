"""What kubeadm, kubelet, containerd and the CNI are told. Pure.

Formats: kubeadm.k8s.io/v1beta4, kubelet.config.k8s.io/v1beta1, kubeproxy.config.k8s.io/v1alpha1; containerd's
config.toml, version 2; CNI network configuration lists, 1.0.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from typing import Any

from planeshift.lab.topology import Host, Topology

REPOSITORY = "localhost/planeshift"
SOCKET = "/run/containerd/containerd.sock"
PAUSE = f"{REPOSITORY}/pause:1"
PATCHES = "/etc/kubernetes/patches"


def containerd() -> str:
    """The configuration of a node's containerd."""
    return f"""version = 2
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  max_concurrent_downloads = 4
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"
"""


def plain_registry(host: str) -> str:
    """How containerd is to speak to a registry without TLS: https://github.com/containerd/containerd, docs/hosts.md."""
    return f'server = "http://{host}"\n[host."http://{host}"]\n  capabilities = ["pull", "resolve"]\n'


def cni(host: Host) -> str:
    """A node's pod network: each pod on a link of its own, so that all its traffic passes kube-proxy's rules."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": host.pods}]], "routes": [{"dst": "0.0.0.0/0"}]}
    plugins = [{"type": "ptp", "ipMasq": False, "ipam": ipam}]
    return json.dumps({"cniVersion": "0.4.0", "name": "lab", "plugins": plugins}, indent=2) + "\n"


def _dns(lab: Topology) -> str:
    return str(ipaddress.IPv4Network(lab.services)[10])


def _registration(host: Host, cgroup: str) -> dict[str, Any]:
    return {
        "name": host.name,
        "criSocket": f"unix://{SOCKET}",
        "imagePullPolicy": "IfNotPresent",
        "taints": [],  # a lab is small: the first node works, too
        "kubeletExtraArgs": [
            {"name": "node-ip", "value": host.address},
            {"name": "cgroup-root", "value": cgroup},
            {"name": "node-labels", "value": f"topology.kubernetes.io/zone={host.zone}"},
        ],
    }


def init(lab: Topology, host: Host, cgroup: str, versions: Mapping[str, str], token: str) -> list[dict[str, Any]]:
    """The documents for `kubeadm init`. `versions` are those of the tools."""
    return [
        {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "InitConfiguration",
            "nodeRegistration": _registration(host, cgroup),
            "localAPIEndpoint": {"advertiseAddress": host.address, "bindPort": 6443},
            "patches": {"directory": PATCHES},
            "timeouts": {"kubeletHealthCheck": "1m0s", "controlPlaneComponentHealthCheck": "3m0s"},
            "bootstrapTokens": [{"token": token, "ttl": "0s", "usages": ["signing", "authentication"]}],
        },
        {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "ClusterConfiguration",
            "clusterName": host.cluster,
            "kubernetesVersion": f"v{versions['kubelet']}",
            "imageRepository": REPOSITORY,
            "encryptionAlgorithm": "ECDSA-P256",
            "controlPlaneEndpoint": f"{host.address}:6443",
            "networking": {"podSubnet": lab.pods, "serviceSubnet": lab.services, "dnsDomain": "cluster.local"},
            "dns": {"imageRepository": REPOSITORY, "imageTag": f"v{versions['coredns']}"},
            "etcd": {"local": {"imageRepository": REPOSITORY, "imageTag": f"v{versions['etcd']}"}},
            # Each node's pods have their network from the lab, so that its routes are there before the cluster is.
            "controllerManager": {"extraArgs": [{"name": "allocate-node-cidrs", "value": "false"}]},
        },
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": False,
            "failSwapOn": False,
            "featureGates": {
                "KubeletInUserNamespace": True,  # do without what a machine inside a machine may not do
                "KubeletCrashLoopBackOffMax": True,
            },
            "clusterDNS": [_dns(lab)],
            "clusterDomain": "cluster.local",
            "resolvConf": "/etc/resolv.conf",
            "enforceNodeAllocatable": [],
            "cgroupsPerQOS": True,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "2%", "imagefs.available": "2%"},
            "evictionPressureTransitionPeriod": "10s",  # a rehearsed full disk is over when it is
            "crashLoopBackOff": {"maxContainerRestartPeriod": "20s"},  # and what it ended is soon back
            "imageGCHighThresholdPercent": 100,  # what was imported by hand must stay
            "shutdownGracePeriod": "0s",
            "serializeImagePulls": False,
            "maxPods": 200,
        },
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clusterCIDR": lab.pods,
            "conntrack": {"maxPerCore": 0},  # the machine's own limit stays
        },
    ]


def patches() -> dict[str, str]:
    """Patches of what kubeadm applies, by file name.

    CoreDNS is asked every second whether it is ready, not every ten: a new kubelet waits up to one such period first.
    """
    probe = {"name": "coredns", "readinessProbe": {"periodSeconds": 1, "failureThreshold": 30}}
    patch = {"spec": {"template": {"spec": {"containers": [probe]}}}}
    return {"corednsdeployment0+strategic.json": json.dumps(patch)}


def join(host: Host, cgroup: str, leader: Host, token: str) -> list[dict[str, Any]]:
    """The document for `kubeadm join`; the cluster's certificate authority is in a file beside it."""
    discovery = {"file": {"kubeConfigPath": "/etc/kubernetes/discovery.conf"}, "tlsBootstrapToken": token}
    return [
        {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "JoinConfiguration",
            "nodeRegistration": _registration(host, cgroup),
            "discovery": discovery,
            "timeouts": {"kubeletHealthCheck": "1m0s", "tlsBootstrap": "3m0s"},
        }
    ]


def discovery(leader: Host, authority: str) -> dict[str, Any]:
    """A kubeconfig with nothing but where the API is, and by whose certificate; `authority` is PEM in base64."""
    cluster = {"server": f"https://{leader.address}:6443", "certificate-authority-data": authority}
    return {"apiVersion": "v1", "kind": "Config", "clusters": [{"name": "", "cluster": cluster}]}


def merged(configurations: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One kubeconfig of several clusters' administrators, a context for each, named as its cluster."""
    result: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": []}
    for name, config in configurations.items():
        user = f"{name}-admin"
        result["clusters"].append({"name": name, "cluster": config["clusters"][0]["cluster"]})
        result["users"].append({"name": user, "user": config["users"][0]["user"]})
        result["contexts"].append({"name": name, "context": {"cluster": name, "user": user}})
    result["current-context"] = next(iter(configurations), "")
    return result


def documents(found: list[dict[str, Any]]) -> str:
    """Documents as one stream of YAML (JSON is YAML)."""
    return "".join(f"---\n{json.dumps(d, indent=1)}\n" for d in found)
