# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host that backs itself up, over SFTP and by systemd's timers."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

testinfra_hosts = ["ansible://quaylock-backup"]
FOLDER = "/etc/quaylock/backup"
COMMAND = "/usr/local/bin/quaylock-backup"
METRICS = "/var/lib/prometheus/node-exporter/quaylock_backup.prom"
SECRETS = ("correct horse", "correct offsite", "hunter2", "PRIVATE KEY")


def metric(host, name):
    text = host.file(METRICS).content_string
    found = re.search(rf'^quaylock_backup_{name}{{[^}}]*stack="shop"}} (\S+)$', text, re.M)
    assert found, f"{name} is not in\n{text}"
    return float(found[1])


def restic(host, repository, password, *words):
    call = f"restic --no-cache -r {repository} -p {password} {' '.join(words)} --json"
    return json.loads(host.check_output(call))


def test_what_is_secret_is_root_s_alone(host):
    settings = host.file(f"{FOLDER}/settings.json")
    assert (settings.user, settings.mode) == ("root", 0o600)
    assert not any(secret in settings.content_string for secret in SECRETS)
    assert host.file(FOLDER).mode == 0o700
    for name in host.file(FOLDER).listdir():
        assert host.file(f"{FOLDER}/{name}").mode == 0o600, name
    assert host.file(COMMAND).mode == 0o700


def test_the_recovery_key_opens_the_repository_and_is_not_here(host):
    file = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "recovery-quaylock-backup"
    password = file.read_text().strip()
    assert len(password) == 40
    assert file.stat().st_mode & 0o077 == 0
    repository = json.loads(host.file(f"{FOLDER}/settings.json").content_string)["repository"]
    keys = restic(host, repository, f"{FOLDER}/password", "key", "list")
    assert [key["hostName"] for key in keys].count("quaylock-recovery") == 1
    opened = host.run(f"RESTIC_PASSWORD={password} restic --no-cache -r {repository} cat config")
    assert opened.rc == 0, opened.stderr
    assert host.run(f"grep -rqF {password} /etc /usr/local /var/lib/quaylock").rc == 1


def test_timers_wait(host):
    said = host.check_output("systemctl list-timers --all --no-legend 'quaylock-backup*'")
    names = set(re.findall(r"quaylock-backup-(\w+)\.timer", said))
    assert names == {"run", "copy", "drill", "check", "prune", "status"}
    for name in names:
        assert host.check_output(f"systemctl is-enabled quaylock-backup-{name}.timer") == "enabled"
    shown = host.check_output("systemctl show quaylock-backup-run.timer -p Persistent,RandomizedDelayUSec")
    assert set(shown.splitlines()) == {"Persistent=yes", "RandomizedDelayUSec=1min"}
    verified = host.run("systemd-analyze verify quaylock-backup@run.service")
    assert (verified.rc, verified.stdout, verified.stderr) == (0, "", "")


def test_a_run_of_the_timer_s_makes_a_set(host):
    host.check_output("systemctl start quaylock-backup@run")
    said = host.check_output("journalctl -o cat -u quaylock-backup@run")
    assert re.search(r"shop: set s-\S+ made, \d+ bytes, writers held still for [\d.]+ s", said), said
    assert not any(secret in said for secret in SECRETS)
    snapshots = restic(host, "sftp:keeper@127.0.0.1:/srv/keeper/web-1", f"{FOLDER}/password", "snapshots")
    items = sorted(tag for s in snapshots for tag in s["tags"] if tag.startswith("item=") or tag == "manifest")
    assert items == ["item=config", "item=config", "item=uploads", "manifest"]
    assert {s["hostname"] for s in snapshots} == {"quaylock-backup"}
    file = host.file(METRICS)
    assert file.mode == 0o644
    assert metric(host, "sets") == 1
    assert metric(host, "stale") == 0
    assert metric(host, "last_run_success") == 1
    assert metric(host, "last_set_timestamp_seconds") > 1_700_000_000


def test_a_drill_proves_it_and_it_goes_off_site(host):
    for task in ("drill", "copy"):
        done = host.run(f"systemctl start quaylock-backup@{task}")
        assert done.rc == 0, host.run(f"journalctl -o cat -u quaylock-backup@{task}").stdout
    assert metric(host, "last_proven_timestamp_seconds") == metric(host, "last_set_timestamp_seconds")
    assert metric(host, "offsite_last_set_timestamp_seconds") == metric(host, "last_set_timestamp_seconds")
    away = restic(host, "/srv/offsite", f"{FOLDER}/offsite-password", "snapshots")
    assert len([s for s in away if "manifest" in s["tags"]]) == 1
    assert host.run(f"restic --no-cache -r /srv/offsite -p {FOLDER}/password cat config").rc != 0
    assert "newest set s-" in host.check_output(f"{COMMAND} status")


def test_a_failure_is_said_counted_and_told(host):
    """The webhook is a server of our own; the repository has gone."""
    server = (
        "import http.server as h\n"
        "class H(h.BaseHTTPRequestHandler):\n"
        "    def do_POST(self):\n"
        "        open('/tmp/told', 'ab').write(self.rfile.read(int(self.headers['Content-Length'])) + b'\\n')\n"
        "        self.send_response(204); self.end_headers()\n"
        "h.HTTPServer(('127.0.0.1', 8099), H).serve_forever()\n"
    )
    host.check_output("mv /srv/keeper/web-1 /srv/keeper/gone")
    host.check_output("systemd-run -q --unit told python3 -c %s", server)
    try:
        assert host.run("systemctl start quaylock-backup@run").rc != 0
        assert metric(host, "last_run_success") == 0
        assert metric(host, "failures_total") == 1
        told = [json.loads(line) for line in host.file("/tmp/told").content_string.splitlines()]
        assert [(t["event"], t["stack"], t["task"], t["host"]) for t in told] == [
            ("failed", "shop", "run", "quaylock-backup")
        ]
        assert "there is no repository" in told[0]["text"]
        assert "hunter2" not in host.check_output("journalctl -o cat -u 'quaylock-backup@*'")
    finally:
        host.check_output("mv /srv/keeper/gone /srv/keeper/web-1; systemctl stop told")
        host.run("systemctl reset-failed 'quaylock-backup@*'")


def test_a_run_that_is_killed_lets_writers_go_on(host):
    """systemd says so, whatever becomes of the run: it is stopped while the writer holds still."""
    unit = host.check_output("systemctl cat quaylock-backup@.service")
    assert f"ExecStopPost={COMMAND} mend" in unit
    assert host.run(f"{COMMAND} mend").rc == 0


def test_the_playbook_makes_one_more(host):
    before = metric(host, "sets")
    play = Path(__file__).parents[3] / "playbooks" / "backup.yml"
    call = ["ansible-playbook", "-i", os.environ["MOLECULE_INVENTORY_FILE"], str(play), "-l", "quaylock-backup"]
    done = subprocess.run([*call, "-e", "stack=shop"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"shop: set s-\S+, [\d.]+ \w+, writers held still for [\d.]+ s", done.stdout), done.stdout
    assert metric(host, "sets") == before + 1
