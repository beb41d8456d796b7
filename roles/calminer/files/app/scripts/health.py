# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The image's health check: exit 0 when /health answers 200; prints what it answered."""

import http.client
import sys

connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=8)
try:
    connection.request("GET", "/health")
    answer = connection.getresponse()
    print(answer.status, answer.read(500).decode(errors="replace"))
    sys.exit(answer.status != http.client.OK)
except OSError as error:
    sys.exit(f"GET /health: {error}")
