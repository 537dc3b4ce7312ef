"""Lint of the services' own configuration: the parser, the registry of each release, and what `check` says."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planeshift.catalog.inifile import Entry, parse, render
from planeshift.catalog.options import check, secret_entries, secret_options
from planeshift.catalog.optiontypes import fault
from planeshift.catalog.registry import Registry
from planeshift.errors import Problem

CATALOG = Path(__file__).parents[2] / "src" / "planeshift" / "catalog"
CORPUS = Path(__file__).parent / "corpus"
RELEASES = ["2026.1", "2026.2"]
SERVICES = sorted(path.parent.name for path in CATALOG.glob("*/options.toml"))


@cache
def registry(service: str, release: str = "2026.2") -> Registry:
    return Registry.load((CATALOG / service / "releases" / release / "options.json").read_text())


def lint(service: str, text: str, allow: tuple[str, ...] = (), release: str = "2026.2") -> list[Problem]:
    return check({f"{service}.conf": text}, registry(service, release), allow)


def only(problems: list[Problem]) -> Problem:
    assert len(problems) == 1, [str(problem) for problem in problems]
    return problems[0]


# --- the parser


def test_entries_know_their_places() -> None:
    file = parse("# c\n[DEFAULT]\ndebug = True\n\n[a:b]\n  \nkey :  'x y'\n", "n.conf")
    assert [(e.section, e.key, e.value, e.line, e.column, e.value_column) for e in file.entries] == [
        ("DEFAULT", "debug", "True", 3, 1, 9),
        ("a:b", "key", "x y", 7, 1, 8),
    ]
    assert [(h.name, h.line, h.column) for h in file.headers] == [("DEFAULT", 2, 2), ("a:b", 5, 2)]
    assert not file.problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("k = a = b : c", "a = b : c"),
        ("k: a=b", "a=b"),
        ("k =", ""),
        ('k = "it\'s"', "it's"),
        ("k = 'a\"", "'a\""),
        ("k = a # no comment", "a # no comment"),
        ("k = a,\n    b,\n\tc", "a,\nb,\nc"),
        ("k = a\n  # in the value", "a\n# in the value"),
        ("k = a\n\n", "a"),
        ("k = \u00e4\u2028b", "\u00e4\u2028b"),
    ],
)
def test_values_are_those_of_oslo_config(text: str, value: str) -> None:
    assert [entry.value for entry in parse(f"[s]\n{text}", "n").entries] == [value]


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("a = 1", 1, 1, "before the first section"),
        ("[s\na = 1", 1, 2, "must end with ]"),
        ("[s] # c", 1, 7, "must end with ]"),
        ("[]", 1, 1, "no name"),
        ("[s]\njust words", 2, 1, "neither"),
        ("[s]\n = 1", 2, 2, "continues a value"),
        ("[s]\n= 1", 2, 1, "key is missing"),
        ("[s]\na = 1\n\n   b", 4, 4, "continues a value"),
        ("\ufeff[s]", 1, 1, "neither"),
    ],
)
def test_syntax_errors_are_located(text: str, line: int, column: int, message: str) -> None:
    problem = parse(text, "n.conf").problems[0]
    assert problem.code == "PS302" and not problem.warning
    assert problem.where and (problem.where.file, problem.where.line, problem.where.column) == ("n.conf", line, column)
    assert message in problem.message


def test_a_line_that_cannot_be_read_does_not_show_its_secret() -> None:
    problem = parse("[s]\npassword hunter2", "n").problems[0]
    assert problem.where and "hunter2" not in problem.where.text


@given(st.text())
def test_parse_takes_any_text(text: str) -> None:
    file = parse(text, "n")
    assert all(entry.key and entry.section for entry in file.entries)


CLEAN = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1, max_size=12
)
WORD = CLEAN.filter(lambda word: not set(word) & set("=:[]#;'\"\ufeff") and word == word.strip())
VALUE = st.lists(
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=20).map(str.strip), max_size=3
)


@given(st.dictionaries(WORD, st.lists(st.tuples(WORD, VALUE.map("\n".join)), max_size=4), max_size=4))
def test_what_is_rendered_is_read_back(sections: dict[str, list[tuple[str, str]]]) -> None:
    try:
        text = render(sections)
    except ValueError:
        return  # it says so rather than write something else
    expected = [(section, key, value) for section, pairs in sections.items() for key, value in pairs]
    assert [(e.section, e.key, e.value) for e in parse(text, "n").entries] == expected


@pytest.mark.parametrize("value", ["plain", "", " lead", "trail ", '"', "'a'", "a\nb", 'a "b" c', "$x"])
def test_ordinary_values_can_be_rendered(value: str) -> None:
    assert [e.value for e in parse(render({"DEFAULT": [("k", value)]}), "n").entries] == [value]


@pytest.mark.parametrize("pair", [("a=b", "v"), ("k", "a\n\nb"), (" k", "v"), ("#k", "v")])
def test_what_the_format_cannot_hold_is_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        render({"s": [pair]})


# --- files of real sites: nothing may be called an error that works


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*.conf")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_production_files_have_no_errors(path: Path, release: str) -> None:
    problems = lint(path.parent.name, path.read_text(), release=release)
    assert [str(problem) for problem in problems if not problem.warning] == []


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*.conf")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_message_holds_a_secret(path: Path) -> None:
    files = {path.name: path.read_text()}
    service = registry(path.parent.name)
    secrets = {entry.value for entry in secret_entries(service, files)}
    problems = [*check(files, service), *secret_options(service, files)]
    said = "\n".join(f"{p.message} {p.hint} {p.why} {p.where and p.where.text}" for p in problems)
    assert not [secret for secret in secrets if len(secret) > 5 and secret in said]


# --- what is wrong, and the hint


@pytest.mark.parametrize(
    ("service", "text", "code", "hint"),
    [
        ("glance", "[DEFAULT]\nenabled_backend = a:file", "PS301", "Did you mean `enabled_backends`?"),
        ("glance", "[DEFAULT]\nshow_image_direct_urls = true", "PS301", "Did you mean `show_image_direct_url`?"),
        ("glance", "[DEFAULT]\ndefault_backend = fast", "PS301", "`default_backend` belongs to [glance_store]."),
        ("glance", "[DEFAULT]\nflavor = keystone", "PS301", "`flavor` belongs to [paste_deploy]."),
        ("glance", "[databse]\nconnection = x", "PS303", "Did you mean [database]?"),
        ("glance", "[default]\ndebug = true", "PS303", "Did you mean [DEFAULT]?"),
        ("glance", "[keystone_auth_token]\nusername = x", "PS303", "Did you mean [keystone_authtoken]?"),
        ("glance", "[ DEFAULT ]\ndebug = true", "PS303", "Did you mean [DEFAULT]?"),
        (
            "glance",
            "[DEFAULT]\nenabled_backends = slow:file\n[fast]\nrbd_store_pool = images",
            "PS303",
            "It is read only if `enabled_backends` in [DEFAULT] names it.",
        ),
        (
            "glance",
            "[DEFAULT]\nenabled_backends = fast:file\n[fast]\nrbd_store_pool = images",
            "PS301",
            "`rbd_store_pool` belongs to [glance_store].",
        ),
        (
            "keystone",
            "[oslo_messaging_rabbit]\nrabbit_quorum_queues = true",
            "PS301",
            "It is `rabbit_quorum_queue` in [oslo_messaging_rabbit] now.",
        ),
        ("keystone", "[DEFAULT]\nmemcache_servers = h:1", "PS301", "`memcache_servers` belongs to [cache]."),
        ("keystone", "[database]\nmemcache_servers = h:1", "PS301", "`memcache_servers` belongs to [cache]."),
        ("keystone", "[cache]\nmemcached_servers = h:1", "PS301", "Did you mean `memcache_servers`?"),
        ("keystone", "[fernet]\nmax_active_keys = 3", "PS303", "Its options belong to [fernet_receipts]."),
        ("keystone", "[fernet_token]\nmax_active_keys = 3", "PS303", "Did you mean [fernet_tokens]?"),
        ("keystone", "[DEFAULT]\nDebug = true", "PS301", "Did you mean `debug`?"),
        ("keystone", "[DEFAULT]\nlog-file = x", "PS301", "Did you mean `log_file`?"),
        ("keystone", "[database]\nconection = x", "PS301", "Did you mean `connection`?"),
        (
            "keystone",
            "[DEFAULT]\nnotification_driver = log",
            "PS301",
            "It is `driver` in [oslo_messaging_notifications]",
        ),
        ("keystone", "[identity]\ndomain_specific_driver_enabled = 1", "PS301", "`domain_specific_drivers_enabled`"),
        ("placement", "[database]\nconection = x", "PS301", "Did you mean `connection`?"),
        ("placement", "[placement_databse]\nconnection = x", "PS303", "Did you mean [placement_database]?"),
        ("barbican", "[DEFAULT]\nsql_connection = x", "PS301", "It is `connection` in [database] now."),
        ("barbican", "[simple_crypto]\nkek = x", "PS303", "Did you mean [simple_crypto_plugin]?"),
        (
            "barbican",
            "[secretstore:vault]\nsecret_store_plugin = vault_plugin",
            "PS303",
            "It is read only if `stores_lookup_suffix` in [secretstore] names it.",
        ),
    ],
)
def test_typos_get_a_hint(service: str, text: str, code: str, hint: str) -> None:
    problem = only([p for p in lint(service, text) if not p.warning])
    assert problem.code == code
    assert hint in problem.hint


@pytest.mark.parametrize(
    ("service", "text", "says"),
    [
        ("keystone", "[DEFAULT]\ndebug = maybe", "`maybe` is not true or false"),
        ("keystone", "[token]\nexpiration = soon", "`soon` is not a whole number"),
        ("keystone", "[fernet_tokens]\nmax_active_keys = 0", "`0` is less than 1"),
        ("keystone", "[identity]\npassword_hash_algorithm = md5", "`md5` is not one of bcrypt"),
        ("keystone", "[DEFAULT]\npublic_endpoint = cloud.example.org", "is not a URL"),
        ("glance", "[DEFAULT]\nenabled_backends = fast", "is not a list of name:value pairs"),
        ("glance", "[DEFAULT]\nenabled_import_methods = web-download", "is not a list in [ and ]"),
        ("glance", "[DEFAULT]\nenabled_backends = s:rbd\n[s]\nrbd_store_chunk_size = 0", "`0` is less than 1"),
        ("barbican", "[p11_crypto_plugin]\nmkek_length = long", "`long` is not a whole number"),
    ],
)
def test_wrong_values_are_found(service: str, text: str, says: str) -> None:
    problem = only(lint(service, text))
    assert problem.code == "PS304" and says in problem.message and not problem.warning


def test_a_wrong_value_is_located_and_a_comment_behind_it_explained() -> None:
    problem = only(lint("keystone", "[token]\nexpiration = 3600 # an hour"))
    assert problem.where and (problem.where.line, problem.where.column) == (2, 14)
    assert problem.hint == "A comment must stand on a line of its own."
    problem = only(lint("keystone", "[token]\nexpiration = 3600\n  allow_expired_window = 1"))
    assert "continues this value" in problem.hint


def test_workers_of_glance_where_it_has_them() -> None:
    assert only(lint("glance", "[DEFAULT]\nworkers = many", release="2026.1")).code == "PS304"
    gone = only(lint("glance", "[DEFAULT]\nworkers = 4"))
    assert gone.code == "PS305" and gone.warning and "WSGI server" in gone.why


@pytest.mark.parametrize(
    "text",
    [
        "[DEFAULT]\ndebug = $use_stderr",
        "[token]\nexpiration = ${cache.expiration_time}",
        "[token]\nexpiration =",
        '[token]\nexpiration = "3600"',
        "[DEFAULT]\nadmin_token =",
        "[Database]\nconnection = sqlite://",
        "[unused_section]\n[another]",
        "[auth]\nmethods = password,my_own\nmy_own = site.auth.MyOwn",
        "[my_protocol]\nremote_id_attribute = HTTP_ISS",
        "[federation]\ntrusted_dashboard = https://a\ntrusted_dashboard = https://b",
    ],
)
def test_no_false_alarms(text: str) -> None:
    assert lint("keystone", text) == []


def test_old_names_are_warned_of_with_the_new_one() -> None:
    problem = only(lint("keystone", "[DEFAULT]\nrpc_thread_pool_size = 64"))
    assert problem.code == "PS305" and problem.warning and "`executor_thread_pool_size`" in problem.hint
    problem = only(lint("keystone", "[assignment]\ncache_time = 64"))
    assert "`cache_time` in [resource]" in problem.hint
    assert only(lint("keystone", "[DEFAULT]\nmax_param_size = 64")).why == "This option has had no effect."


def test_an_old_name_has_the_type_of_the_new_one() -> None:
    assert {p.code for p in lint("keystone", "[DEFAULT]\nrpc_thread_pool_size = many")} == {"PS305", "PS304"}


@pytest.mark.parametrize("allow", [("DEFAULT/my_patch", "mine/*"), ("*/my_patch", "mine/a"), ("*",)])
def test_options_of_local_patches_are_allowed(allow: tuple[str, ...]) -> None:
    text = "[DEFAULT]\nmy_patch = 1\n[mine]\na = 1"
    assert lint("keystone", text, allow) == []
    assert {problem.code for problem in lint("keystone", text)} == {"PS301", "PS303"}


# --- sections that other options bring into being, in all files together


def test_the_files_of_a_service_are_read_together() -> None:
    files = {
        "glance-api.conf": "[DEFAULT]\nenabled_backends = fast:file",
        "stores/fast.conf": "[fast]\nfilesystem_store_chunk_size = 1",
        "glance-swift.conf": "[ref1]\nuser = service:glance\nkey = x",
        "rules.conf": "[^x_.*]\ncreate = admin",
        "more.conf": "[DEFAULT]\nproperty_protection_file = /etc/glance/rules.conf",
        "glance-api-paste.ini": "[pipeline:x]\npipeline = a b",
    }
    assert check(files, registry("glance")) == []


@pytest.mark.parametrize(
    ("section", "ok", "bad"),
    [
        ("auth_type = password", "username = x", "application_credential_id = x"),
        ("auth_type = v3applicationcredential", "application_credential_id = x", "system_scop = x"),
        ("auth_plugin = password", "username = x", "application_credential_id = x"),
        ("", "application_credential_id = x", "aplication_credential_id = x"),
    ],
)
def test_the_auth_type_decides_the_options(section: str, ok: str, bad: str) -> None:
    def errors(line: str) -> list[Problem]:
        return [p for p in lint("placement", f"[keystone_authtoken]\n{section}\n{line}") if not p.warning]

    assert not errors(ok)
    assert only(errors(bad)).code == "PS301"


def test_an_auth_section_is_followed() -> None:
    text = "[keystone_authtoken]\nauth_section = creds\n[creds]\nauth_type = password\nusername = x\n"
    assert lint("placement", text) == []
    assert only(lint("placement", text + "userame = y")).hint == "Did you mean `username`?"


# --- what is tied to one machine


@pytest.mark.parametrize(
    ("service", "line", "found"),
    [
        ("keystone", "log_file = k.log", True),
        ("keystone", "log_dir = /var/log/keystone", True),
        ("keystone", "use_syslog = true", True),
        ("keystone", "use_syslog = false", False),
        ("keystone", "use_journal = yes", True),
        ("keystone", "log_config_append = /etc/keystone/logging.conf", True),
        ("keystone", "transport_url = rabbit://h1,127.0.0.1:5672/", True),
        ("keystone", "transport_url = rabbit://localhost-3.example.org/", False),
        ("glance", "image_cache_dir = /var/lib/glance/cache", True),
        ("glance", "image_cache_dir = $state_path/cache", False),
        ("glance", "node_staging_uri = file:///srv/staging", True),
        ("glance", "worker_self_reference_url = http://h1:9292", True),
        ("placement", "state_path = /opt/placement", True),
    ],
)
def test_what_is_tied_to_a_machine_is_pointed_out(service: str, line: str, found: bool) -> None:
    problems = lint(service, f"[DEFAULT]\n{line}")
    assert [problem.code for problem in problems] == (["PS306"] if found else [])
    assert all(problem.warning and problem.why for problem in problems)


def test_a_log_configuration_that_travels_along_is_no_finding() -> None:
    files = {"keystone.conf": "[DEFAULT]\nlog_config_append = /etc/keystone/logging.conf", "logging.conf": "[loggers]"}
    assert check(files, registry("keystone")) == []


@pytest.mark.parametrize(
    ("address", "found"), [("0.0.0.0", False), ("::", False), ("192.0.2.1", True), ("$my_ip", False)]
)
def test_fixed_addresses(address: str, found: bool) -> None:
    problems = lint("glance", f"[DEFAULT]\nbind_host = {address}", release="2026.1")
    assert [problem.code for problem in problems] == (["PS306"] if found else [])


# --- secrets


@pytest.mark.parametrize(
    ("service", "text", "found"),
    [
        ("keystone", "[database]\nconnection = mysql+pymysql://k:pa/ss@w@h/k", True),
        ("keystone", "[database]\nconnection = mysql+pymysql://k@h/k?read_default_file=/etc/my.cnf", False),
        ("keystone", "[database]\nconnection = sqlite:////k.db", False),
        ("keystone", "[DEFAULT]\ntransport_url = rabbit://a:b@h1,a:b@h2/", True),
        ("keystone", "[ldap]\npassword = x", True),
        ("keystone", "[ldap]\npassword =", False),
        ("keystone", "[ldap]\npassword = $from_elsewhere", False),
        ("keystone", "[DEFAULT]\nadmin_token = x", True),
        ("keystone", "[cache]\nbackend_argument = url:h:11211", False),
        ("keystone", "[cache]\nbackend_argument = password:x", True),
        ("keystone", "[cache]\nmemcache_password = x", True),
        ("keystone", "[fernet_tokens]\nkey_repository = /etc/keystone/fernet-keys", False),
        ("glance", "[DEFAULT]\nswift_store_config_file = /etc/glance/glance-swift.conf", False),
        ("glance", "[DEFAULT]\nenabled_backends = o:s3\n[o]\ns3_store_secret_key = x", True),
        ("glance", "[keystone_authtoken]\nauth_type = password\npassword = x", True),
        ("glance", "[keystone_authtoken]\nauth_section = c\n[c]\npassword = x", True),
        ("glance", "[ext_oauth2_auth]\nclient_secret = x", True),
        ("glance", "[profiler]\nconnection_string = redis://:x@h", True),
        ("barbican", "[simple_crypto_plugin]\nkek = x", True),
        ("barbican", "[p11_crypto_plugin]\nlogin = 1234", True),
        ("barbican", "[crypto]\nnamespace = x", False),
        ("barbican", "[my_plugin]\npassword = x", True),
    ],
)
def test_secrets_in_the_clear(service: str, text: str, found: bool) -> None:
    problems = secret_options(registry(service), {f"{service}.conf": text})
    assert [problem.code for problem in problems] == (["PS307"] if found else [])
    assert all(p.warning and p.where and p.where.text.endswith("= ***") for p in problems)


def test_a_misspelt_password_is_not_shown() -> None:
    problem = only(lint("placement", "[keystone_authtoken]\nauth_type = password\npasword = hunter2"))
    assert problem.code == "PS301" and problem.where and "hunter2" not in f"{problem.where.text}{problem.message}"


# --- types, registries, speed


@pytest.mark.parametrize(
    ("spec", "good", "bad"),
    [
        ("bool", ["True", "OFF", "1"], ["2", "", "t"]),
        ({"type": "int", "min": 1, "max": 5}, ["1", " 5 ", "", "+3"], ["0", "6", "1.0", "x"]),
        ("float", ["1", "1e3", ""], ["x", "1,5"]),
        ({"type": "port", "min": 0, "max": 65535}, ["0", "443"], ["65536", "-1"]),
        ({"type": "str", "choices": ["a", "b"]}, ["a"], ["A", ""]),
        ({"type": "str", "choices": ["a", "B"], "ignore_case": True}, ["A", "b"], ["c"]),
        ({"type": "str", "regex": "^x"}, ["xy"], ["y"]),
        ({"type": "str", "max_length": 2}, ["ab"], ["abc"]),
        ({"type": "list", "item": "int"}, ["1,2", "", "1,"], ["1,x"]),
        ({"type": "list", "bounds": True}, ["[a,b]", "[]"], ["a,b", "[a"]),
        ("dict", ["a:b,c:d", "a:b:c", ""], ["a", "a:b,a:c", ":b"]),
        ("ip", ["192.0.2.1", "2001:db8::1"], ["192.0.2", "h", ""]),
        ({"type": "ip", "version": 4}, ["192.0.2.1"], ["::1"]),
        ("hostname", ["a", "a.example.org"], ["a_b", "-a", "1.2.3.4", ""]),
        ("host", ["a", "192.0.2.1", "::1"], ["a_b", "192.0.2.256"]),
        ("hostdomain", ["a_b"], ["a b"]),
        ("uri", ["http://h", "https://u:p@h:1/x?y#z", "http://[::1]:80/"], ["h", "http://", "http:// h", ""]),
        ({"type": "uri", "schemes": ["http", "https"]}, ["HTTPS://h"], ["ftp://h"]),
        ("any", ["x", ""], []),
    ],
)
def test_types(spec: object, good: list[str], bad: list[str]) -> None:
    assert [value for value in good if fault(spec, value)] == []  # type: ignore[arg-type]
    assert [value for value in bad if not fault(spec, value)] == []  # type: ignore[arg-type]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("service", SERVICES)
def test_registries_are_whole(service: str, release: str) -> None:
    known = registry(service, release)
    assert known.service == service and known.release == release
    assert {"DEFAULT", "database", "oslo_policy", "cors"} <= set(known.sections)
    assert "auth/password" in known.templates
    for section, specs in known.sections.items():
        for name in specs:
            option = known.known(()).option(section, name)
            assert option and (option.to is None or option.spec != "any"), f"{section}/{name} leads nowhere"


@pytest.mark.parametrize("service", SERVICES)
def test_registries_are_small_and_fast(service: str) -> None:
    path = CATALOG / service / "releases" / "2026.2" / "options.json"
    assert path.stat().st_size < 300_000
    start = time.process_time()
    known = Registry.load(path.read_text())
    loaded = time.process_time()
    check({"x.conf": (CORPUS / service / "openstack-ansible.conf").read_text()}, known)
    assert loaded - start < 0.3 and time.process_time() - loaded < 0.3  # ten times what is usual


@given(st.text())
def test_check_takes_any_text(text: str) -> None:
    lint("placement", text)
    lint("placement", f"[DEFAULT]\n{text}")


def test_entries_are_small_values() -> None:
    entry = Entry("s", "k", "v", "f", 1, 1, 5, "k = v")
    assert entry.where().text == "k = v" and entry.where(hidden=True).text == "k = ***"
