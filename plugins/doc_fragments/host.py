# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Options that several modules share; their argument specs are in `module_utils/glue.py`."""

from __future__ import annotations


class ModuleDocFragment:
    # whatever asks the engine
    DOCUMENTATION = r"""
options:
  docker_host:
    description: The engine's address, where it is not the usual socket.
    type: str
    default: ""
requirements:
  - docker >= 7.0.0 (the Python SDK)
"""

    # whatever reads the journal
    JOURNAL = r"""
options:
  releases_kept:
    description: How many releases are kept.
    type: int
    default: 5
"""

    # whatever works with stacks on their host
    CONFIG = r"""
options:
  config_dir:
    description: Where rendered stacks, their secrets and configs are.
    type: path
    default: /etc/quaylock
"""

    # whatever remembers something on the host
    STATE = r"""
options:
  state_dir:
    description: Where the journal and the locks are, manifests that were read, and what is restored meanwhile.
    type: path
    default: /var/lib/quaylock
"""

    # whatever uses the repository
    SETTINGS = r"""
options:
  settings:
    description:
      - The file with the host's backup settings, in JSON, with C(repository), C(password_file) and C(host) at least.
        Nobody but root should be able to read it.
    type: path
    default: /etc/quaylock/backup/settings.json
requirements:
  - restic >= 0.14
"""

    # whatever makes sets or restores them
    ASKED = r"""
options:
  wait:
    description: Seconds to wait for somebody else who deploys, backs up, drills or restores the stack.
    type: float
    default: 0
  who:
    description: Who is asking, for the journal. The user of this host by default.
    type: str
    default: ""
"""

    # whatever shows stacks as their users reach them
    STACKS = r"""
options:
  host:
    description: The host's name in URLs.
    type: str
    default: localhost
  entrypoints:
    description: The proxy's entrypoints by name, each with C(port), C(address) and C(tls), for the URLs.
    type: dict
    default: {}
  ingress_folder:
    description: The folder of the proxy's configuration and sockets.
    type: path
    default: /var/lib/quaylock/ingress
  ingress_container:
    description: The proxy's container, that of the host's driver where it is empty.
    type: str
    default: ""
  ingress_network:
    description: The network on which the proxy reaches replicas.
    type: str
    default: quaylock_ingress
"""
