from paste import deploy

application = deploy.loadapp("config:/run/planeshift/example/here/barbican/vms/home/.barbican/barbican-api-paste.ini")
