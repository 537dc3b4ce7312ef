"""Secret files of a cloud that are sealed: the same port, and nothing in the clear on the disk."""

from __future__ import annotations

from pathlib import Path

import pyrage
import pytest

from planeshift.drivers.secretfiles import SecretFiles
from planeshift.errors import PlaneshiftError
from planeshift.secrets import work

VALUES = {"password": 'a "quoted" $word: # \\ ü', "keys": {"0": "zero=", "1": "one="}, "number": "0123"}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    key = pyrage.x25519.Identity.generate()
    monkeypatch.setenv("SOPS_AGE_KEY", str(key))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    for name in ("SOPS_AGE_KEY_FILE", "SOPS_AGE_KEY_CMD"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".sops.yaml").write_text(f"creation_rules: [{{path_regex: secrets/, age: {key.to_public()}}}]\n")
    return tmp_path


def test_a_new_file_is_sealed_where_a_rule_says_so(site: Path) -> None:
    secrets = SecretFiles(site)
    secrets.add("secrets/a.yaml", VALUES)
    assert secrets.read("secrets/a.yaml") == VALUES
    text = (site / "secrets/a.yaml").read_text()
    assert "quoted" not in text and "zero" not in text and "password: ENC[" in text
    assert not (site / "secrets/.gitignore").exists()  # it belongs in git


def test_a_file_that_no_rule_fits_is_in_the_clear_for_its_owner_alone(site: Path) -> None:
    SecretFiles(site).add("elsewhere/a.yaml", {"password": "quoted"})
    made = site / "elsewhere/a.yaml"
    assert "quoted" in made.read_text() and made.stat().st_mode & 0o777 == 0o600
    assert (site / "elsewhere/.gitignore").exists()


def test_a_sealed_file_is_added_to_and_keeps_what_is_there(site: Path) -> None:
    path = site / "secrets/a.yaml"
    path.parent.mkdir()
    path.write_bytes(work.encrypt(str(path), b"# my own words\npassword: 123456  # from the vault\n"))
    path.chmod(0o644)  # sealed: others may read it
    secrets = SecretFiles(site)
    assert secrets.read("secrets/a.yaml") == {"password": "123456"}
    before = path.read_text().splitlines()
    secrets.add("secrets/a.yaml", {"password": "never", "more": {"x": "y"}})
    assert secrets.read("secrets/a.yaml") == {"password": "123456", "more": {"x": "y"}}
    assert path.read_text().splitlines()[:2] == before[:2] and path.stat().st_mode & 0o777 == 0o644


def test_one_that_does_not_open_is_refused_and_stays(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = SecretFiles(site)
    secrets.add("secrets/a.yaml", VALUES)
    before = (site / "secrets/a.yaml").read_bytes()
    monkeypatch.setenv("SOPS_AGE_KEY", str(pyrage.x25519.Identity.generate()))
    with pytest.raises(PlaneshiftError) as caught:
        secrets.read("secrets/a.yaml")
    assert caught.value.problems[0].code == "PS1009"
    with pytest.raises(PlaneshiftError):
        secrets.add("secrets/a.yaml", {"more": "x"})
    assert (site / "secrets/a.yaml").read_bytes() == before


def test_one_that_was_altered_is_refused(site: Path) -> None:
    secrets = SecretFiles(site)
    secrets.add("secrets/a.yaml", VALUES)
    path = site / "secrets/a.yaml"
    path.write_text(path.read_text().replace("password:", "passwort:"))
    with pytest.raises(PlaneshiftError) as caught:
        secrets.read("secrets/a.yaml")
    assert caught.value.problems[0].code == "PS1005"
    assert "quoted" not in str(caught.value)


def test_a_sealed_file_is_changed_in_one_write(site: Path) -> None:
    secrets = SecretFiles(site)
    secrets.add("secrets/a.yaml", VALUES)
    secrets.change("secrets/a.yaml", {"password": "new", "keys": None, "more": {"0": "x"}, "absent": None})
    assert secrets.read("secrets/a.yaml") == {"password": "new", "number": "0123", "more": {"0": "x"}}
    assert "new" not in (site / "secrets/a.yaml").read_text()
