# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""superset init: the metadata database is as this image, its settings and /app/assets want it.

What was done last is remembered in the table quaylock_init, by its digest. While that is the same and nothing is
missing, Superset is not even loaded, and what somebody changed in an imported chart by hand stays as it is.
"""

import contextlib
import hashlib
import io
import json
import logging
import os
import string
import sys
import time
import urllib.parse
from pathlib import Path

import psycopg2
import yaml
from psycopg2 import sql
from werkzeug.security import check_password_hash

APP = Path("/app")
ADMIN = os.environ.get("ADMIN_USERNAME") or "admin"
TABLES = {
    "databases": "dbs",
    "datasets": "tables",
    "charts": "slices",
    "dashboards": "dashboards",
    "queries": "saved_query",
}
LOCK = 8088_4104
"""of PostgreSQL: one init at a time"""


def say(text):
    print(f"superset init: {text}", flush=True)


def secret(name):
    return Path(os.environ[f"{name}_FILE"]).read_text(encoding="utf-8").rstrip("\r\n")


def assets():
    """Path -> document, of all files in /app/assets, with what the environment says about Trino put in."""
    known = {
        "TRINO_HOST": os.environ.get("TRINO_HOST") or "trino",
        "TRINO_PORT": os.environ.get("TRINO_PORT") or "8080",
        "TRINO_USER": urllib.parse.quote(os.environ.get("TRINO_USER") or "superset", safe=""),
    }
    found = {}
    for file in sorted((APP / "assets").glob("*.yaml")):
        try:
            documents = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except yaml.YAMLError as error:
            sys.exit(f"superset init: {file} is no YAML: {error}")
        for path, document in documents.items():
            if path in found:
                sys.exit(f"superset init: {file}: {path} is in another file as well")
            if path.partition("/")[0] in TABLES and not (isinstance(document, dict) and document.get("uuid")):
                sys.exit(f"superset init: {file}: {path} has no uuid")
            if isinstance(document, dict) and "sqlalchemy_uri" in document:
                document["sqlalchemy_uri"] = string.Template(document["sqlalchemy_uri"]).safe_substitute(known)
            found[path] = document
    return found


def digest_of(documents):
    files = [APP / "requirements.txt", *sorted(APP.glob("*.py"))]
    code = [file.read_text(encoding="utf-8") for file in files]
    return hashlib.sha256(json.dumps([code, documents, ADMIN], sort_keys=True, default=str).encode()).hexdigest()


def connected():
    """A connection that holds the lock until it is closed."""
    until = time.monotonic() + 30
    while True:
        try:
            connection = psycopg2.connect(
                host=os.environ["DB_HOST"],
                port=os.environ.get("DB_PORT") or "5432",
                dbname=os.environ["DB_NAME"],
                user=os.environ["DB_USER"],
                password=secret("DB_PASSWORD"),
                application_name="superset init",
                connect_timeout=5,
            )
            break
        except psycopg2.OperationalError as error:
            if time.monotonic() > until or "authentication failed" in str(error):
                sys.exit(f"superset init: the metadata database: {str(error).strip()}")
            time.sleep(1)
    connection.autocommit = True
    asked(connection, "SELECT pg_advisory_lock(%s)", LOCK)
    return connection


def asked(connection, query, *values):
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall() if cursor.description else []


def missing(connection, digest, documents):
    """What there is to do, in a word; empty where all is done."""
    if asked(connection, "SELECT to_regclass('quaylock_init')") == [(None,)]:
        return "a new database"
    if asked(connection, "SELECT digest FROM quaylock_init") != [(digest,)]:
        return "another image, other settings or other assets"
    admin = asked(
        connection,
        "SELECT u.password, u.active FROM ab_user u JOIN ab_user_role l ON l.user_id = u.id"
        " JOIN ab_role r ON r.id = l.role_id WHERE u.username = %s AND r.name = 'Admin'",
        ADMIN,
    )
    if not admin or not admin[0][1]:
        return f"no administrator {ADMIN}"
    if not check_password_hash(admin[0][0], secret("ADMIN_PASSWORD")):
        return f"another password of {ADMIN}"
    for kind, table in TABLES.items():
        wanted = {str(document["uuid"]) for path, document in documents.items() if path.startswith(f"{kind}/")}
        query = sql.SQL("SELECT uuid::text FROM {} WHERE uuid::text = ANY(%s)").format(sql.Identifier(table))
        if wanted - {uuid for (uuid,) in asked(connection, query, list(wanted))}:
            return f"some of the {kind} are missing"
    return ""


def migrate():
    import superset
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError
    from flask_migrate import upgrade
    from superset.extensions import db

    folder = str(Path(superset.__file__).parent / "migrations")
    known = ScriptDirectory(folder)
    with db.engine.connect() as connection:
        made = db.inspect(connection).has_table("alembic_version")
        now = connection.execute("SELECT version_num FROM alembic_version").scalar() if made else None
    if now and now == known.get_current_head():
        return
    if now:
        try:
            known.get_revision(now)
        except CommandError:
            sys.exit(
                f"superset init: the database was migrated to {now}, which this Superset does not know: a later one did"
                " it. Take that image, or restore the database from a backup made before"
            )
    say(f"migrates the database from {now or 'nothing'} to {known.get_current_head()}")
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            upgrade(directory=folder)
    except BaseException:
        sys.stdout.write(said.getvalue())
        raise


def administrator(security):
    role = security.find_role("Admin")
    user = security.find_user(username=ADMIN)
    if user is None:
        if not security.add_user(ADMIN, "Admin", "User", f"{ADMIN}@localhost", role, password=secret("ADMIN_PASSWORD")):
            sys.exit(f"superset init: the administrator {ADMIN} could not be made")
        say(f"made the administrator {ADMIN}")
    else:
        if role not in user.roles or not user.active:
            user.roles = [*user.roles, role] if role not in user.roles else user.roles
            user.active = True
            security.update_user(user)
            say(f"{ADMIN} is an administrator again")
        if not check_password_hash(user.password, secret("ADMIN_PASSWORD")):
            security.reset_password(user.id, secret("ADMIN_PASSWORD"))
            say(f"gave {ADMIN} another password")
    return security.find_user(username=ADMIN)


def bring_in(documents, user):
    from superset.commands.database.importers.v1 import utils as databases
    from superset.commands.importers.v1.assets import ImportAssetsCommand
    from superset.models.core import Database
    from superset.utils.core import override_user

    # An import would ask the database for its schemas and tables. It may not be there yet, and columns are declared.
    databases.add_permissions = lambda *_about: None
    Database.has_table = lambda *_about: True
    contents = {path: yaml.safe_dump(document, sort_keys=False) for path, document in documents.items()}
    contents.setdefault("metadata.yaml", yaml.safe_dump({"version": "1.0.0", "type": "assets"}))
    with override_user(user):
        try:
            ImportAssetsCommand(contents).run()
        except Exception as error:
            why = [str(said) for said in getattr(error, "_exceptions", None) or [error.__cause__ or error]]
            sys.exit("superset init: the assets could not be imported: " + "; ".join(why))
    say("imported " + ", ".join(sorted(path for path in documents if path.partition("/")[0] in TABLES)))


def main():
    documents = assets()
    digest = digest_of(documents)
    with contextlib.closing(connected()) as connection:
        todo = missing(connection, digest, documents)
        if not todo:
            say("nothing to do")
            return
        say(f"begins: {todo}")
        from superset.app import create_app

        app = create_app()
        # hundreds of migrations tell what they do
        logging.getLogger().setLevel(max(logging.WARNING, app.config["LOG_LEVEL"]))
        with app.app_context():
            from superset import appbuilder, security_manager

            migrate()
            appbuilder.add_permissions(update_perms=True)
            security_manager.sync_role_definitions()
            user = administrator(security_manager)
            if documents:
                bring_in(documents, user)
                # so that the schemas of what was imported can be granted
                security_manager.create_missing_perms()
        asked(connection, "CREATE TABLE IF NOT EXISTS quaylock_init (digest text NOT NULL)")
        asked(connection, "BEGIN")
        asked(connection, "DELETE FROM quaylock_init")
        asked(connection, "INSERT INTO quaylock_init VALUES (%s)", digest)
        asked(connection, "COMMIT")
        say("done")


main()
