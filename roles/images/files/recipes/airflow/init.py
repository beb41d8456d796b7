# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Brings the database to what this version of Airflow needs, and the administrator to what the settings say.

Where both are so already it changes nothing.
"""

import os
import sys
import time

import psycopg2

PATIENCE = 60


def wait_for_database(url):
    until = time.monotonic() + PATIENCE
    while True:
        try:
            psycopg2.connect(url.replace("+psycopg2", "", 1), connect_timeout=5).close()
            return
        except psycopg2.OperationalError as error:
            if time.monotonic() > until:
                sys.exit(f"init: no database after {PATIENCE} s: {error}")
            time.sleep(0.5)


def migrate():
    from airflow.utils import db

    try:
        db.check_migrations(0)
    except TimeoutError:
        db.upgradedb()
        return True
    return False


def administrator(name, password, migrated):
    """Who can do everything: made, or given this password and role again."""
    from airflow.providers.fab.auth_manager.models import User
    from airflow.utils.session import create_session
    from werkzeug.security import check_password_hash

    if not migrated:
        with create_session() as session:
            user = session.query(User).filter(User.username == name).one_or_none()
            able = user and user.active and "Admin" in {role.name for role in user.roles}
            if able and check_password_hash(user.password, password):
                return "is as it should be"

    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    with get_application_builder() as builder:
        manager = builder.sm
        # permissions are given to roles, which there have to be
        manager.sync_roles()
        builder.add_permissions(update_perms=True)
        manager.sync_roles()
        admin = manager.find_role("Admin")
        user = manager.find_user(username=name)
        if user is None:
            if not manager.add_user(name, name, "administrator", f"{name}@localhost", admin, password=password):
                sys.exit(f"init: the user {name} could not be made")
            return "is made"
        if not check_password_hash(user.password, password):
            manager.reset_password(user.id, password)
            user = manager.find_user(username=name)
        user.active = True
        user.roles = list({*user.roles, admin})
        manager.update_user(user)
        return "is brought up to date"


def main():
    began = time.monotonic()
    name = os.environ.get("ADMIN_USERNAME", "admin")
    try:
        with open(os.environ["ADMIN_PASSWORD_FILE"], encoding="utf-8") as file:
            password = file.read().strip("\r\n")
    except (KeyError, OSError) as error:
        sys.exit(f"init: ADMIN_PASSWORD_FILE: {error}")
    if len(password) < 8:
        sys.exit("init: the administrator's password has less than 8 characters")
    wait_for_database(os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
    migrated = migrate()
    print(f"init: the database {'is migrated' if migrated else 'is as it should be'}", flush=True)
    print(f"init: the administrator {name} {administrator(name, password, migrated)}", flush=True)
    print(f"init: done in {time.monotonic() - began:.1f} s", flush=True)


main()
