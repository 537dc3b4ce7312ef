from paste import deploy

application = deploy.loadapp("config:/srv/example/.planeshift/environments/barbican-2026.2-LOCK/etc/barbican/barbican-api-paste.ini")

from barbican.common import policy

policy.init()
