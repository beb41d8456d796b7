# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`x-quaylock.restore_point` with a real PostgreSQL: what a migration destroyed can be put back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils import deploy
from ansible_collections.quaylock.stacks.tests.fixtures.images.recipes import recipe_image
from ansible_collections.quaylock.stacks.tests.fixtures.waiting import until

from .conftest import Harbour, web
from .inside import asked
from .test_rollout_killed import killed_at

pytestmark = pytest.mark.integration

DUMP = "pg_dump -U shop -Fc -f /backups/$QUAYLOCK_ROLLOUT.dump shop && echo /backups/$QUAYLOCK_ROLLOUT.dump"


class Shop:
    """A database with one table, a migration, and an application."""

    def __init__(self, harbour: Harbour, postgres: str, folder: Path) -> None:
        self.harbour, self.postgres, self.backups = harbour, postgres, folder / "backups"
        self.backups.mkdir(mode=0o777)
        self.backups.chmod(0o777)

    def release(self, migration: str = "", point: str = DUMP, **app: str) -> dict[str, Any]:
        database = {
            "image": self.postgres,
            "environment": {"POSTGRES_USER": "shop", "POSTGRES_HOST_AUTH_METHOD": "trust"},
            "volumes": ["data:/var/lib/postgresql/data", f"{self.backups}:/backups"],
            "healthcheck": {"test": ["CMD", "pg_isready", "-q", "-h", "127.0.0.1"], "timeout": "5s"},
            "deploy": {"update_config": {"monitor": "0.3s"}},
            "x-quaylock": {"restore_point": {"command": ["sh", "-c", point], "timeout": "20s"}},
        }
        services = {"db": database, "app": web(environment=app)}
        if migration:
            services["migrate"] = {
                "image": self.postgres,
                "command": ["psql", "-h", "db", "-U", "shop", "-v", "ON_ERROR_STOP=1", "-c", migration],
                "depends_on": {"db": {"condition": "service_healthy"}},
                "x-quaylock": {"one_shot": True},
            }
            services["app"]["depends_on"] = {"migrate": {"condition": "service_completed_successfully"}}
        return services

    def deploy(self, *args: Any, **about: Any) -> dict[str, Any]:
        return self.harbour.deploy(self.release(*args, **about), volumes={"data": {}})

    def run(self, *command: str) -> str:
        container = self.harbour.client.containers.get(f"{self.harbour.name}-db-1")
        code, output = container.exec_run(list(command))
        return output.decode().strip() if code == 0 else f"FAILED {output.decode().strip()}"

    def found(self, query: str) -> str:
        container = self.harbour.client.containers.get(f"{self.harbour.name}-db-1")
        code, text = asked(container, ["psql", "-U", "shop", "-qAtc", query])
        return text if code == 0 else f"FAILED {text}"


@pytest.fixture
def shop(harbour: Harbour, client: Any, tmp_path: Path) -> Shop:
    made = Shop(harbour, recipe_image(client, "postgres"), tmp_path)
    first = made.deploy()
    assert first["outcome"] == "deployed", first
    assert first["restore_points"] == {}, "there was nothing to keep"
    made.run("psql", "-U", "shop", "-qAtc", "CREATE TABLE orders (what text); INSERT INTO orders VALUES ('a boat')")
    return made


def test_what_a_migration_destroyed_is_put_back_from_it(shop: Shop) -> None:
    bad = shop.deploy("DROP TABLE orders", CRASH_AFTER="0.1")
    assert bad["outcome"] == "rolled back"
    assert shop.found("SELECT * FROM orders").startswith("FAILED"), "a rollback of the containers brings no data back"
    point = bad["restore_points"]["db"]
    assert point == f"/backups/{bad['rollout']}.dump"
    assert "what one-shots (migrations) have changed was not reverted" in bad["msg"]
    assert f"restore point of db before it: {point}" in bad["msg"]
    assert shop.run("pg_restore", "-U", "shop", "-d", "shop", "--clean", "--if-exists", point) == ""
    assert shop.found("SELECT * FROM orders") == "a boat"


def test_a_release_knows_its_own_and_a_return_names_it(shop: Shop) -> None:
    answer = shop.deploy("ALTER TABLE orders ADD COLUMN price int", VERSION="v2")
    assert answer["outcome"] == "deployed", answer
    point = answer["restore_points"]["db"]
    releases = shop.harbour.journal.releases(shop.harbour.name, 5)
    assert [dict(r.points) for r in releases] == [{"db": point}, {}]
    again = shop.deploy("ALTER TABLE orders ADD COLUMN price int", VERSION="v2")
    assert again["outcome"] == "unchanged"
    assert len(list(shop.backups.iterdir())) == 1, "nothing to do needs no restore point"
    back = deploy.deploy(shop.harbour.request({}, release="previous"))
    assert back["outcome"] == "deployed", back
    assert any(f"restore points since: db before {releases[0].id}: {point}" in note for note in back["notes"])


@pytest.mark.parametrize(
    ("point", "says"),
    [("echo no room on the tape >&2; exit 3", "exit code 3: no room on the tape"), ("sleep 99", "no answer within")],
)
def test_without_it_nothing_is_changed(shop: Shop, point: str, says: str) -> None:
    before = shop.harbour.identities()
    services = shop.release("DROP TABLE orders", point, VERSION="v2")
    services["db"]["x-quaylock"]["restore_point"]["timeout"] = "1s"
    answer = shop.harbour.deploy(services, volumes={"data": {}})
    assert answer["outcome"] == "rolled back"
    assert "db failed, its restore point could not be taken, so nothing was changed" in answer["msg"]
    assert says in answer["msg"]
    assert shop.harbour.identities() == before
    assert shop.found("SELECT * FROM orders") == "a boat"
    db = shop.harbour.client.containers.get(f"{shop.harbour.name}-db-1")
    until(lambda: "sleep 99" not in str(db.top()["Processes"]), lambda: "the late command goes on", seconds=20)


def test_killed_while_it_is_taken_the_next_run_takes_its_own(shop: Shop) -> None:
    before = shop.harbour.identities()
    new = shop.release("ALTER TABLE orders ADD COLUMN price int", f"sleep 3; {DUMP}", VERSION="v2")
    killed_at(shop.harbour, new, "do", "TakePoint", later=0.3, volumes={"data": {}})
    assert shop.harbour.identities() == before
    answer = shop.harbour.deploy(new, volumes={"data": {}})
    assert answer["outcome"] == "deployed", answer
    assert any("was interrupted earlier" in note for note in answer["notes"])
    assert answer["restore_points"] == {"db": f"/backups/{answer['rollout']}.dump"}
