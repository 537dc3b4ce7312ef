"""Secrets that live in git: files in SOPS's format, opened and edited here, and by stock sops alike.

A sealed file is kept as its own text: a parser tells where each value stands (`nodes`), and sealing replaces values in
place. So comments, order and layout stay as they are, and what did not change keeps its ciphertext.

    bytes ─► text (yamltext, lightyaml, jsontext, envtext, initext) ─► nodes ─► sealed ─► text
                                                        metadata ─► keys (agekeys, vaultkeys) ─► data key ─► cipher

`nodes`, `scalars`, `cipher`, `metadata`, `rules` and the texts do no I/O. Modules on the path of `view` import nothing
that is slow to load: no dataclasses, typing, re or json at module level.
"""
