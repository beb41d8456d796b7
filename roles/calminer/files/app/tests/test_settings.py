# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from pathlib import Path

import pytest

from settings import BadSettings, Settings

COMPLETE = {
    "DATABASE_HOST": "postgres",
    "DATABASE_USER": "calminer",
    "DATABASE_NAME": "calminer",
    "DATABASE_PASSWORD": "it's a secret",
}

REFUSED = [
    # name                     changes                                        said
    (
        "nothing at all",
        dict.fromkeys(COMPLETE, ""),
        ["DATABASE_HOST", "DATABASE_USER", "DATABASE_NAME", "DATABASE_PASSWORD"],
    ),
    ("another database", {"DATABASE_DRIVER": "mysql"}, ["DATABASE_DRIVER is 'mysql'"]),
    ("no port", {"DATABASE_PORT": "http"}, ["DATABASE_PORT is 'http'"]),
    ("a schema to inject", {"DATABASE_SCHEMA": "a -c x=y"}, ["DATABASE_SCHEMA is 'a -c x=y'"]),
    ("two passwords", {"DATABASE_PASSWORD_FILE": "/run/secrets/p"}, ["both set"]),
    ("no such file", {"DATABASE_PASSWORD": "", "DATABASE_PASSWORD_FILE": "/none"}, ["/none cannot be read"]),
]


@pytest.mark.parametrize(("changes", "said"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refuses_with_all_problems_at_once(changes: dict[str, str], said: list[str]) -> None:
    with pytest.raises(BadSettings) as refusal:
        Settings.of(COMPLETE | changes)
    assert len(refusal.value.problems) == len(said)
    for words in said:
        assert words in str(refusal.value)


@pytest.mark.parametrize("driver", ["", "postgresql", "postgresql+psycopg", "postgresql+psycopg2"])
def test_reads_the_contract(driver: str) -> None:
    settings = Settings.of(COMPLETE | {"DATABASE_DRIVER": driver, "DATABASE_PORT": "5433", "DATABASE_SCHEMA": "mine"})
    assert r"password='it\'s a secret'" in settings.conninfo
    assert "port=5433" in settings.conninfo
    assert "search_path=mine" in settings.conninfo


def test_the_password_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from a file\n")
    settings = Settings.of(COMPLETE | {"DATABASE_PASSWORD": "", "DATABASE_PASSWORD_FILE": str(file)})
    assert settings.password == "from a file"
    assert "from a file" not in repr(settings)
