wsgi_app = 'glance.wsgi.api:application'
chdir = '/run/planeshift/example/vm1/glance/vms'
worker_class = 'gthread'
timeout = 660
graceful_timeout = 600
keepalive = 75
worker_tmp_dir = '/run/planeshift/example/vm1/glance/vms'
control_socket_disable = True
forwarded_allow_ips = '*'
limit_request_line = 8190
limit_request_field_size = 16380
accesslog = None
errorlog = '-'
bind = '172.30.0.3:19292'
workers = 2
threads = 8
proc_name = 'vm1/glance/vms'


def when_ready(server):
    import hashlib, pathlib
    pathlib.Path(chdir, '.server').write_text(hashlib.sha256(pathlib.Path(chdir, 'gunicorn.conf.py').read_bytes()).hexdigest())


on_reload = when_ready


def nworkers_changed(server, new_value, old_value):
    import pathlib
    pathlib.Path(chdir, '.workers').write_text(str(new_value))


def post_worker_init(worker):
    import pathlib
    pathlib.Path(chdir, '.worker-' + str(worker.pid)).touch()


def child_exit(server, worker):
    import pathlib
    pathlib.Path(chdir, '.worker-' + str(worker.pid)).unlink(missing_ok=True)


def post_request(worker, request, environ, response):
    # A connection that is closed with half a request unread is reset, and the answer lost: a 401 amid an upload.
    import contextlib, time
    with contextlib.suppress(Exception):
        end = time.monotonic() + 30
        while time.monotonic() < end and request.body.read(1 << 16):
            pass


def worker_exit(server, worker):
    # Before Python ends: it would end all thread pools first, and work fail that needs one.
    if worker.booted:
        from glance.common.wsgi_app import drain_workers
        drain_workers()
