# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Settings of Flask and Flask-AppBuilder: people log in with a password that Airflow's database knows the hash of."""

from flask_appbuilder.const import AUTH_DB

AUTH_TYPE = AUTH_DB
WTF_CSRF_ENABLED = True
WTF_CSRF_TIME_LIMIT = None
# five tries in 40 seconds and worker; said, because otherwise each start warns that nothing is
RATELIMIT_STORAGE_URI = "memory://"
