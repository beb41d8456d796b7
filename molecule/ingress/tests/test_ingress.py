# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The proxy as a client, the host and Docker see it."""

from __future__ import annotations

import json
import shlex

PROXY = "ingress-haproxy"
FOLDER = "/var/lib/quaylock/ingress"


def curl(host, *words):
    return host.run("curl -si -m 5 " + " ".join(words)).stdout


def status(host, *words):
    return curl(host, *words).split()[1]


def inspected(host, name):
    return json.loads(host.check_output(f"docker inspect {name}"))[0]


def ask(host, command):
    """One command to HAProxy's admin socket."""
    talk = (
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('{0}/run/admin.sock'); "
        "s.sendall(b'{1}\\n'); s.shutdown(1); print(b''.join(iter(lambda: s.recv(65536), b'')).decode())"
    )
    return host.check_output('python3 -c "' + talk.format(FOLDER, command) + '"')


def test_tls_serves_the_shop_with_our_certificate(host):
    host.check_output(f"docker cp {PROXY}:/usr/local/etc/haproxy/certs/shop.pem /tmp/shop.pem")
    answer = curl(host, "--cacert /tmp/shop.pem --resolve shop.example.org:443:127.0.0.1 https://shop.example.org/")
    assert answer.startswith("HTTP/2 200")
    assert "strict-transport-security" in answer


def test_plain_http_is_sent_to_tls(host):
    answer = curl(host, "-H 'Host: shop.example.org' 'http://127.0.0.1/a?b=c'")
    assert answer.startswith("HTTP/1.1 308")
    assert "location: https://shop.example.org/a?b=c" in answer


def test_other_entrypoints_stay_as_they_were_asked_for(host):
    assert status(host, "-H 'Host: shop.example.org' http://127.0.0.1:8080/") == "200"
    assert status(host, "-H 'Host: other.example.org' http://127.0.0.1:8080/") == "404"
    assert status(host, "http://127.0.0.1:9000/") == "200"


def test_both_replicas_are_served_from_fixed_addresses(host):
    rows = [line.split() for line in ask(host, "show servers state").splitlines() if "shop:web:8000 " in line]
    assert sorted(row[3] for row in rows) == ["shop-web-1", "shop-web-2"]
    for row in rows:
        network = inspected(host, row[3])["NetworkSettings"]["Networks"]["quaylock_ingress"]
        assert network["IPAMConfig"]["IPv4Address"] == network["IPAddress"] == row[4]


def test_the_proxy_is_locked_down(host):
    proxy = inspected(host, PROXY)
    assert proxy["Config"]["User"] == "99:99"
    assert proxy["HostConfig"]["ReadonlyRootfs"] is True
    assert proxy["HostConfig"]["CapDrop"] == ["ALL"]
    assert proxy["HostConfig"]["SecurityOpt"] == ["no-new-privileges:true"]
    assert proxy["NetworkSettings"]["Networks"]["quaylock_ingress"]["IPAddress"] == "172.30.0.2"


def test_keys_are_for_the_proxy_alone(host):
    key = host.file(f"{FOLDER}/conf/certs/shop.pem")
    assert (key.user, key.gid, key.mode) == ("root", 99, 0o640)
    assert "PRIVATE KEY" not in host.check_output("cat /etc/quaylock/stacks/ingress/compose.yaml")
    assert host.file(f"{FOLDER}/conf/haproxy.cfg").mode == 0o640


def test_its_health_check_asks_the_running_proxy(host):
    check = inspected(host, PROXY)["Config"]["Healthcheck"]["Test"]
    assert check[0] == "CMD"
    assert host.run(f"docker exec {PROXY} {shlex.join(check[1:])}").rc == 0


def test_a_restart_changes_nothing(host):
    before = ask(host, "show env QUAYLOCK_STRUCTURE")
    host.check_output(f"docker restart -t 1 {PROXY}")
    host.run("for look in $(seq 50); do curl -so /dev/null http://127.0.0.1:8080/ && break; sleep 0.1; done")
    assert ask(host, "show env QUAYLOCK_STRUCTURE") == before
    assert status(host, "-H 'Host: shop.example.org' http://127.0.0.1:8080/") == "200"
