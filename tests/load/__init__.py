# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Clients that count what is lost, for tests on this machine: `python -m tests.load --help`."""

from .clients import Load, Report, under

__all__ = ["Load", "Report", "under"]
