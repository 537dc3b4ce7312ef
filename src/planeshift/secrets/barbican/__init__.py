"""age keys that Barbican keeps: `age-plugin-barbican`, and the same in this process.

A key is an X25519 pair. The public half is in the recipient, so that anyone can seal; the private half is an opaque secret
of Barbican's, whose payload also says what the key is for, and cannot be changed afterwards. Keystone and Barbican's
access rules decide who reads it.

    age1barbican1…            recipient: the secret's UUID, the public key, the purpose
    AGE-PLUGIN-BARBICAN-1…    identity: nothing secret; the purpose that it may be used for, or any
    -> barbican UUID PURPOSE EPHEMERAL   stanza, all in base64; the body is the sealed file key
"""
