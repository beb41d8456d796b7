# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host without systemd: cron calls the same command."""

from __future__ import annotations

testinfra_hosts = ["ansible://quaylock-backup-plain"]
COMMAND = "/usr/local/bin/quaylock-backup"


def test_cron_calls_it(host):
    lines = host.file("/etc/cron.d/quaylock-backup").content_string.splitlines()
    tasks = {line.split(" 2>&1")[0] for line in lines if " root " in line}
    assert tasks == {
        f"00 02 * * * root {COMMAND} --spread 1m run",
        f"00 05 * * Sat root {COMMAND} --spread 1m check",
        f"00 08 * * Sun root {COMMAND} --spread 1m prune",
        f"20 * * * * root {COMMAND} --spread 0 status",
    }


def test_the_repository_is_there_with_both_keys(host):
    keys = host.check_output("restic --no-cache -r /srv/backup -p /etc/quaylock/backup/password key list")
    assert "quaylock-recovery" in keys
    assert "no stack of this host declares a backup" in host.check_output(f"{COMMAND} status")
