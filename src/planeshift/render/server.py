"""The programs that serve a unit: gunicorn, and httpd before it for a site that needs its modules. Pure.

Why gunicorn: docs/wsgi-server.md. Settings: https://docs.gunicorn.org/en/stable/settings.html.
"""

from __future__ import annotations

from collections.abc import Mapping

from planeshift.catalog.spec import Component
from planeshift.render.desired import File, Program, Unit
from planeshift.render.supervisor import MARKER

SERVER = "gunicorn.conf.py"
# What a driver needs to know of a running server: the settings that it has read, which workers are ready, and how many it
# wants.
READ, WORKER, COUNT = ".server", ".worker-", ".workers"
_MARKS = f"""

def when_ready(server):
    import hashlib, pathlib
    pathlib.Path(chdir, {READ!r}).write_text(hashlib.sha256(pathlib.Path(chdir, {SERVER!r}).read_bytes()).hexdigest())


on_reload = when_ready


def nworkers_changed(server, new_value, old_value):
    import pathlib
    pathlib.Path(chdir, {COUNT!r}).write_text(str(new_value))


def post_worker_init(worker):
    import pathlib
    pathlib.Path(chdir, {WORKER!r} + str(worker.pid)).touch()


def child_exit(server, worker):
    import pathlib
    pathlib.Path(chdir, {WORKER!r} + str(worker.pid)).unlink(missing_ok=True)
"""
_REST = """

def post_request(worker, request, environ, response):
    # A connection that is closed with half a request unread is reset, and the answer lost: a 401 amid an upload.
    import contextlib, time
    with contextlib.suppress(Exception):
        end = time.monotonic() + 30
        while time.monotonic() < end and request.body.read(1 << 16):
            pass
"""
_FINISH = """

def worker_exit(server, worker):
    # Before Python ends: it would end all thread pools first, and work fail that needs one.
    if worker.booted:
        from {module} import {function}
        {function}()
"""
WSGI_MODULE = "planeshift_wsgi"
_TITLES = {"SPT_NOENV": "1"}  # else a process title is written over the environment, and our marker with it


def bind(unit: Unit, directory: str) -> str:
    """Where the WSGI server listens: the unit's address, or a socket of its own behind httpd."""
    if unit.httpd:
        return f"unix:{directory}/wsgi.sock"
    return f"[{unit.address}]:{unit.port}" if ":" in unit.address else f"{unit.address}:{unit.port}"


def wsgi_application(component: Component) -> str:
    """module:callable of a component; one whose source the catalog gives is a module in its unit's directory."""
    return f"{WSGI_MODULE}:application" if "\n" in component.wsgi else component.wsgi


def files(unit: Unit, component: Component, directory: str, wsgi: str) -> dict[str, File]:
    """The server's own files, by path below the unit's directory; `wsgi` is the component's, filled in."""
    own: dict[str, object] = {
        "bind": bind(unit, directory),
        "workers": component.workers,
        "threads": component.threads,
        "proc_name": unit.id,
    }
    result = {SERVER: File((_settings(component, directory, directory, own) + _MARKS + _rest(component)).encode())}
    if "\n" in wsgi:
        result[f"{WSGI_MODULE}.py"] = File(wsgi.encode())
    if unit.httpd:
        result["httpd.conf"] = File(_httpd(unit, component, directory))
    return result


def pod_files(component: Component, directory: str, wsgi: str, name: str = SERVER) -> dict[str, str]:
    """The server's own files in a pod, which says in GUNICORN_CMD_ARGS how many serve, and where.

    `name` is that of its settings, which are the chart's, for pods of several programs.
    """
    result = {
        name: _settings(component, directory, "/run/planeshift", {"proc_name": component.name}) + _rest(component)
    }
    if "\n" in wsgi:
        result[f"{WSGI_MODULE}.py"] = wsgi
    return result


def _rest(component: Component) -> str:
    module, _, function = component.finish.partition(":")
    return _REST + (_FINISH.format(module=module, function=function) if function else "")


def _settings(component: Component, directory: str, run: str, own: Mapping[str, object]) -> str:
    settings = {
        "wsgi_app": wsgi_application(component),
        "chdir": directory,
        "worker_class": "gthread",
        "timeout": component.drain + 60,  # a worker that drains gives no sign of life
        "graceful_timeout": component.drain,
        "keepalive": 75,
        "worker_tmp_dir": run,
        "control_socket_disable": True,
        "forwarded_allow_ips": "*",  # the edge alone reaches this address; the service decides what to trust
        "limit_request_line": 8190,
        "limit_request_field_size": 16380,
        "accesslog": None,  # the edge logs every request
        "errorlog": "-",
        **own,
    }
    return "\n".join(f"{name} = {value!r}" for name, value in settings.items()) + "\n"


def programs(unit: Unit, directory: str, environment: dict[str, str], installed: str, log: str) -> list[Program]:
    """What the supervisor runs for a unit."""
    return [
        program
        for component in unit.components
        for program in (_served if component.wsgi else _running)(
            unit, component, directory, environment, installed, log
        )
    ]


def _running(
    unit: Unit, component: Component, directory: str, environment: dict[str, str], installed: str, log: str
) -> list[Program]:
    """A program that serves no HTTP. It reads its files when it starts, so a reload starts it anew."""
    return [
        Program(
            name=component.name,
            argv=(f"{installed}/bin/{component.command[0]}", *component.command[1:]),
            environment=environment | {MARKER: f"{directory}#{component.name}", **_TITLES},
            log=f"{log}/{component.name}.log",
            reload_signal="",
            stop_seconds=component.drain + 10,
        )
    ]


def _served(
    unit: Unit, component: Component, directory: str, environment: dict[str, str], installed: str, log: str
) -> list[Program]:
    # The place is named here as well, since a program that is to listen elsewhere must be started anew.
    marked = environment | {
        MARKER: f"{directory}#{component.name}",
        **_TITLES,
        "PLANESHIFT_BIND": bind(unit, directory),
    }
    result = [
        Program(
            name=component.name,
            # No arguments: services parse the program's own. gunicorn.conf.py is read from the working directory.
            argv=(f"{installed}/bin/gunicorn",),
            environment=marked,
            log=f"{log}/{component.name}.log",
            reload_signal="HUP",
            workers=component.workers,
            stop_seconds=component.drain + 10,
        )
    ]
    if unit.httpd:
        result.append(
            Program(
                name="httpd",
                argv=("apache2", "-DFOREGROUND", "-f", f"{directory}/httpd.conf"),
                environment={**marked, MARKER: f"{directory}#httpd"},
                log=f"{log}/httpd.log",
                reload_signal="USR1",
                stop_signal="WINCH",
                stop_seconds=component.drain + 10,
            )
        )
    return result


def _httpd(unit: Unit, component: Component, directory: str) -> bytes:
    """Apache before the WSGI server: the site's own snippets (`config/SERVICE/httpd/*.conf`) load what they need."""
    modules = "mpm_event authz_core proxy proxy_http headers env unixd"
    load = "\n".join(f"LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so" for m in modules.split()[:-1])
    return f"""\
ServerName {unit.address}
ServerRoot {directory}
DefaultRuntimeDir {directory}
PidFile {directory}/httpd.pid
Listen {unit.address}:{unit.port}
{load}
ErrorLog /dev/stderr
GracefulShutdownTimeout {component.drain}
TimeOut 600
IncludeOptional {directory}/home/.{unit.service}/httpd/*.conf
ProxyRequests Off
ProxyPreserveHost On
ProxyAddHeaders Off
AllowEncodedSlashes NoDecode
ProxyPass / unix:{directory}/wsgi.sock|http://localhost/ nocanon disablereuse=On
""".encode()
