# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Traefik in the place of HAProxy, as a client, the host and Docker see it."""

from __future__ import annotations

import json
import shlex

PROXY = "ingress-traefik"
FOLDER = "/var/lib/quaylock/ingress"


def curl(host, *words):
    return host.run("curl -si -m 5 " + " ".join(words)).stdout


def status(host, *words):
    return curl(host, *words).split()[1]


def inspected(host, name):
    return json.loads(host.check_output(f"docker inspect {name}"))[0]


def test_tls_serves_the_shop_with_our_certificate(host):
    host.check_output(f"cp {FOLDER}/conf/certs/shop.pem /tmp/shop.pem")
    answer = curl(host, "--cacert /tmp/shop.pem --resolve shop.example.org:443:127.0.0.1 https://shop.example.org/")
    assert answer.startswith("HTTP/2 200")
    assert "strict-transport-security" in answer
    assert curl(host, "-k --tls-max 1.1 --resolve shop.example.org:443:127.0.0.1 https://shop.example.org/") == ""


def test_plain_http_is_sent_to_tls(host):
    answer = curl(host, "-H 'Host: shop.example.org' 'http://127.0.0.1/a?b=c'")
    assert answer.startswith("HTTP/1.1 301")
    assert "Location: https://shop.example.org/a?b=c" in answer


def test_other_entrypoints_stay_as_they_were_asked_for(host):
    assert status(host, "-H 'Host: shop.example.org' http://127.0.0.1:8080/") == "200"
    assert status(host, "-H 'Host: other.example.org' http://127.0.0.1:8080/") == "404"
    assert status(host, "http://127.0.0.1:9000/") == "200"


def test_the_other_proxy_is_gone(host):
    assert host.run("docker inspect ingress-haproxy").rc != 0
    assert host.file(f"{FOLDER}/driver").content_string == "traefik\n"


def test_the_proxy_is_locked_down(host):
    proxy = inspected(host, PROXY)
    assert proxy["Config"]["User"] == "99:99"
    assert proxy["HostConfig"]["ReadonlyRootfs"] is True
    assert proxy["HostConfig"]["CapDrop"] == ["ALL"]
    assert proxy["HostConfig"]["SecurityOpt"] == ["no-new-privileges:true"]
    assert not any("docker.sock" in mount["Source"] for mount in proxy["Mounts"])
    assert proxy["NetworkSettings"]["Networks"]["quaylock_ingress"]["IPAddress"] == "172.30.0.2"


def test_keys_and_secrets_are_for_the_proxy_alone(host):
    key = host.file(f"{FOLDER}/conf/certs/shop.pem")
    assert (key.user, key.gid, key.mode) == ("root", 99, 0o640)
    assert host.file(f"{FOLDER}/admin.json").mode == 0o600
    assert host.file(f"{FOLDER}/acme").mode == 0o700
    assert host.file(f"{FOLDER}/conf/dynamic/routes.yaml").mode == 0o640
    token = json.loads(host.file(f"{FOLDER}/admin.json").content_string)["token"]
    assert token not in host.check_output(f"docker inspect {PROXY}")
    assert token not in host.check_output("cat /etc/quaylock/stacks/ingress/compose.yaml")


def test_its_health_check_asks_the_running_proxy(host):
    check = inspected(host, PROXY)["Config"]["Healthcheck"]["Test"]
    assert check[0] == "CMD"
    assert host.run(f"docker exec {PROXY} {shlex.join(check[1:])}").rc == 0


def test_a_restart_changes_nothing(host):
    host.check_output(f"docker restart -t 5 {PROXY}")
    look = "curl -so /dev/null -w '%{http_code}' -H 'Host: shop.example.org' http://127.0.0.1:8080/"
    host.run(f'for look in $(seq 50); do [ "$({look})" = 200 ] && break; sleep 0.1; done')
    assert status(host, "-H 'Host: shop.example.org' http://127.0.0.1:8080/") == "200"
