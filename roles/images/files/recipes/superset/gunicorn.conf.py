# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How gunicorn serves Superset: loaded once, then forked, so that workers share most of their memory."""

import gc
import os

_on = os.environ.get

bind = "0.0.0.0:8088"
worker_class = "gthread"
workers = int(_on("WORKERS", "2"))
threads = int(_on("THREADS", "8"))
preload_app = True
max_requests = 0
# of a worker's sign of life, not of a request: threads serve those
timeout = 120
graceful_timeout = int(_on("GRACEFUL_TIMEOUT", "25"))
keepalive = 75
worker_tmp_dir = "/dev/shm"  # noqa: S108 - files without a name, in memory
# the address of a chart that is being explored has all of it in the query; the proxy in front has a limit
limit_request_line = 0
loglevel = _on("LOG_LEVEL", "info").lower()
accesslog = "-" if _on("ACCESS_LOG", "no") == "yes" else None
access_log_format = '%({x-forwarded-for}i)s "%(r)s" %(s)s %(b)s %(M)s ms'


def when_ready(server):
    """A connection that was opened while loading must not be shared by workers; memory should."""
    from superset.extensions import db

    with server.app.wsgi().app_context():
        db.engine.dispose()
    gc.collect()
    gc.freeze()
