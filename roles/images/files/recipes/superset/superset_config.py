# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Superset's settings: what the environment says, and what a stack without a way out needs. Secrets come from files."""

import hashlib
import hmac
import importlib.util
import logging
import os
from pathlib import Path

from flask import Blueprint
from sqlalchemy import text
from sqlalchemy.engine import URL
from superset.utils.logging_configurator import DefaultLoggingConfigurator

_on = os.environ.get


def _secret(name):
    return Path(os.environ[f"{name}_FILE"]).read_text(encoding="utf-8").rstrip("\r\n")


def _derived(purpose):
    """A key of its own for each purpose, so that none stays what Superset's source says."""
    return hmac.new(SECRET_KEY.encode(), purpose.encode(), hashlib.sha256).hexdigest()


SECRET_KEY = _secret("SUPERSET_SECRET_KEY")
GUEST_TOKEN_JWT_SECRET = _derived("guest tokens")
GLOBAL_ASYNC_QUERIES_JWT_SECRET = _derived("asynchronous queries")

SQLALCHEMY_DATABASE_URI = URL.create(
    "postgresql+psycopg2",
    username=os.environ["DB_USER"],
    password=_secret("DB_PASSWORD"),
    host=os.environ["DB_HOST"],
    port=int(_on("DB_PORT", "5432")),
    database=os.environ["DB_NAME"],
).render_as_string(hide_password=False)
SQLALCHEMY_ENGINE_OPTIONS = {
    # a database that was replaced is noticed before a query fails
    "pool_pre_ping": True,
    "pool_size": 5,
    "max_overflow": 10,
    "connect_args": {"connect_timeout": 5, "application_name": "superset"},
}

# A proxy in front says who asks, how and for which host; nobody here believes a prefix.
ENABLE_PROXY_FIX = True
PROXY_FIX_CONFIG = {"x_for": 1, "x_proto": 1, "x_host": 1, "x_port": 0, "x_prefix": 0}

_secure = _on("SECURE_COOKIES", "no") == "yes"
SESSION_COOKIE_SECURE = _secure
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
WTF_CSRF_ENABLED = True

# A page loads from here and nowhere else. TLS and what browsers shall remember of it is the proxy's affair.
TALISMAN_ENABLED = True
TALISMAN_CONFIG = {
    "content_security_policy": {
        "base-uri": ["'self'"],
        "default-src": ["'self'"],
        "img-src": ["'self'", "blob:", "data:"],
        "worker-src": ["'self'", "blob:"],
        "connect-src": ["'self'"],
        "object-src": "'none'",
        "frame-ancestors": ["'self'"],
        "form-action": ["'self'"],
        "style-src": ["'self'", "'unsafe-inline'"],
        "script-src": ["'self'", "'strict-dynamic'"],
    },
    "content_security_policy_nonce_in": ["script-src"],
    "force_https": False,
    "strict_transport_security": False,
    "session_cookie_secure": _secure,
}

# Guesses of a password are slowed down, by each worker for itself, on the page and over the API.
# The rest is not: a page is a hundred requests.
RATELIMIT_ENABLED = True
RATELIMIT_STORAGE_URI = "memory://"
RATELIMIT_APPLICATION = None
AUTH_RATE_LIMITED = True
AUTH_RATE_LIMIT = _on("LOGINS_LIMIT", "5 per second")

# What each page needs to know of Superset is kept for a minute. Data are not: then every worker says the same.
CACHE_CONFIG = {"CACHE_TYPE": "SimpleCache", "CACHE_DEFAULT_TIMEOUT": 60, "CACHE_THRESHOLD": 500}
DATA_CACHE_CONFIG = {"CACHE_TYPE": "NullCache", "CACHE_NO_NULL_WARNING": True}

# no background worker: queries run in the request that asks
CELERY_CONFIG = None
SUPERSET_WEBSERVER_TIMEOUT = int(_on("QUERY_TIMEOUT", "60"))
SQLLAB_TIMEOUT = SUPERSET_WEBSERVER_TIMEOUT
SQLALCHEMY_EXAMPLES_URI = None
FAB_API_SWAGGER_UI = False
LANGUAGES = {}

LOG_LEVEL = getattr(logging, _on("LOG_LEVEL", "INFO").upper())
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
ALEMBIC_SKIP_LOG_CONFIG = True


def _in_one_line(record):
    """A page that is not there or a query that is wrong is told without its trace; a fault, at ERROR, keeps it."""
    if record.levelno < logging.ERROR and record.exc_info and record.exc_info[1]:
        said = record.getMessage()
        why = str(record.exc_info[1]).partition("\n")[0]
        record.msg, record.args = "%s: %s", (said, why)
        record.exc_info = record.exc_text = None
    return True


class _Lines(DefaultLoggingConfigurator):
    def configure_logging(self, app_config, debug_mode):
        super().configure_logging(app_config, debug_mode)
        for handler in logging.getLogger().handlers:
            handler.addFilter(_in_one_line)


LOGGING_CONFIGURATOR = _Lines()

_ready = Blueprint("quaylock_ready", __name__)


@_ready.route("/ready")
def _is_ready():
    """Whether a request can be served: the database answers, and superset init has been there."""
    from superset.extensions import db

    try:
        made = db.session.execute(text("SELECT EXISTS (SELECT FROM quaylock_init)")).scalar()
    except Exception as error:  # whatever it is, nobody is served now
        db.session.rollback()
        logging.getLogger("ready").warning("not ready: %s", str(error).partition("\n")[0])
        return "the metadata database does not answer, or superset init has not been run\n", 503
    return ("ready\n", 200) if made else ("superset init has not ended well\n", 503)


BLUEPRINTS = [_ready]


def _limit_logins(app):
    """Flask-AppBuilder limits the login page alone."""
    from superset import security_manager

    security_manager.limiter.limit(AUTH_RATE_LIMIT, methods=["POST"])(app.blueprints["SecurityApi"])


FLASK_APP_MUTATOR = _limit_logins

# what a user of this image adds, for logins by OAuth or LDAP and the like
if importlib.util.find_spec("superset_more"):
    _more = vars(importlib.import_module("superset_more"))
    globals().update({name: value for name, value in _more.items() if name.isupper()})
