"""OCI images without a daemon: made, kept, moved. Usable by itself, on `planeshift.errors` and file helpers alone.

    store = Store(Path("images"))                                  # an OCI image layout on disk
    layer = store.add_layer(tree(Path("build/bin"), at="usr/local/bin"))
    image = store.add_image([layer], Config(entrypoint=("/usr/local/bin/kube-proxy",)), name="localhost/kube-proxy:v1")
    store.export([image.name], Path("kube-proxy.tar"))             # `ctr -n k8s.io images import kube-proxy.tar`

The same entries and the same `Config` give the same digests on every machine: owner, time and order in a layer are
fixed, and the compressor is pinned (see `layers`). Pure: `oci`, `entries` (but for reading a tree), `recipe`.
"""

from planeshift.images.entries import Entry, link, tree
from planeshift.images.oci import Config, Descriptor, Layer, Platform
from planeshift.images.store import Image, Store

__all__ = ["Config", "Descriptor", "Entry", "Image", "Layer", "Platform", "Store", "link", "tree"]
