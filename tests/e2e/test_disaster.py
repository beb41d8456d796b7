# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A production host burns down: an empty one gets everything back, from the repository and its recovery key alone.

Three containers with systemd: the host, the machine with the repository (SFTP), and the empty host that comes after it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from .test_prod_over_ssh import (
    PASSWORD,
    Machine,
    ansible,
    bare,
    certificate,
    filled,
    get,
    images,
    inventory,
    machine,
    registry,
    run,
)

__all__ = ["certificate", "images", "inventory", "machine", "registry"]
pytestmark = [pytest.mark.integration, pytest.mark.more]


def psql(host: Machine, sql: str) -> str:
    find = "$(docker ps -q --filter label=com.docker.compose.service=postgres)"
    return host(f'docker exec {find} psql -U calminer -d calminer -qAtc "{sql}"').strip()


def test_an_empty_host_gets_everything_back(
    machine: Machine, inventory: Path, registry: str, certificate: Path, tmp_path: Path
) -> None:
    safe = tmp_path / "safe"
    safe.mkdir()
    with bare("quaylock-e2e-vault", "vault", safe) as vault:
        vault("install -d -o deploy /srv/vault")
        kind, host_key = vault("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2]
        known = f"{vault.address} {kind} {host_key}"
        repository = f"sftp:deploy@{vault.address}:/srv/vault/prod-1"
        key, recovery = tmp_path / "vault-password", tmp_path / "recovery.key"
        filled(
            inventory,
            registry,
            certificate,
            key,
            backup_repository=repository,
            backup_password="of-the-host-alone",
            backup_ssh_key=(safe / "id").read_text(),
            backup_known_hosts=[known],
            backup_recovery_file=str(recovery),
        )
        play = [ansible("ansible-playbook"), "-i", inventory, "--vault-password-file", key]
        said = run(*play, "site.yml")
        assert "calminer: healthy" in said
        assert recovery.read_text().strip()
        psql(machine, "INSERT INTO scenario (name) SELECT 'after the deployment ' || n FROM generate_series(1, 500) n")
        rows = psql(machine, "SELECT count(*) FROM scenario")
        assert int(rows) >= 500
        run(*play, "playbooks/backup.yml", "-e", "stack=calminer")
        drilled = run(*play, "playbooks/drill.yml", "-e", "stack=calminer")
        assert "is proven" in drilled

        run("docker", "rm", "-fv", machine.name)
        with bare("quaylock-e2e-prod-again", "prod-1", machine.keys) as again:
            host = inventory / "host_vars/prod-1.yml"
            about = yaml.safe_load(host.read_text()) | again.variables()
            host.write_text(yaml.safe_dump({k: v for k, v in about.items() if not k.startswith("backup_")}))
            again("! command -v dockerd && ! test -e /etc/quaylock")
            (tmp_path / "known_hosts").write_text(f"{known}\n")
            source = {
                "stack": "calminer",
                "yes": True,
                "from": repository,
                "from_password_file": str(recovery),
                "from_ssh_key_file": str(safe / "id"),
                "from_known_hosts": [known],
            }
            said = run(*play, "playbooks/restore.yml", "-e", json.dumps(source))
            assert "calminer: restored from set" in said
            assert "calminer: healthy" in said
            assert PASSWORD not in said
            assert recovery.read_text().strip() not in said
            assert psql(again, "SELECT count(*) FROM scenario") == rows
            status, body, _headers = get(again, "/health", certificate)
            assert (status, json.loads(body)) == (200, {"status": "ok"})
            again("! test -e /run/quaylock-restore")
            # the inventory has nothing to add
            said = run(*play, "site.yml", "-e", "stacks=calminer")
            assert "calminer: healthy" in said
            assert psql(again, "SELECT count(*) FROM scenario") == rows
