# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""CalMiner, the reference application: scenarios of mines, what they are worth, and how sure that is."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import random
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates

from economics import Scenario, present_value, spread, trials
from settings import Settings
from storage import NameTaken, Scenarios, Stored, Unavailable, connections

HERE = Path(__file__).parent
PAGES = Jinja2Templates(directory=HERE / "templates")
PORTION = 200
"""Trials between two pauses of a simulation, about 1 ms, so that other requests are answered meanwhile."""

# psycopg's pool reports every failed connection; /health says the same in one line.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


def worth_a_line(record: logging.LogRecord) -> bool:
    """Of the access log: everything but the health checks that pass, which come several times a second."""
    match record.args:
        case (_, "GET", "/health", _, 200):
            return False
    return True


logging.getLogger("uvicorn.access").addFilter(worth_a_line)


router = APIRouter()


def scenarios(request: Request) -> Scenarios:
    return request.app.state.scenarios


def release(request: Request) -> str:
    return request.app.version


Storage = Annotated[Scenarios, Depends(scenarios)]
Release = Annotated[str, Depends(release)]


@router.get("/health")
async def health(storage: Storage) -> JSONResponse:
    problem = await storage.problem()
    if problem:
        return JSONResponse({"status": "error", "db": problem}, status_code=503)
    return JSONResponse({"status": "ok"})


@router.get("/version")
async def version(release: Release) -> dict[str, str]:
    return {"version": release, "replica": socket.gethostname()}


@router.get("/", response_class=HTMLResponse)
async def page(request: Request, storage: Storage, release: Release) -> HTMLResponse:
    rows = [(scenario, present_value(scenario)) for scenario in await storage.newest()]
    return PAGES.TemplateResponse(request, "scenarios.html", {"rows": rows, "version": release})


@router.get("/api/scenarios")
async def newest(storage: Storage, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[Stored]:
    return await storage.newest(limit)


@router.post("/api/scenarios", status_code=201)
async def add(scenario: Scenario, storage: Storage) -> Stored:
    return await storage.add(scenario)


@router.get("/api/scenarios/simulate")
async def simulate(
    storage: Storage,
    release: Release,
    seconds: Annotated[float, Query(ge=0, le=60, allow_inf_nan=False)] = 1,
    seed: int | None = None,
) -> dict[str, Any]:
    """Spread of the present values of all scenarios; more seconds give more trials."""
    kept = await storage.newest()
    dice, deadline = random.Random(seed), time.monotonic() + seconds  # noqa: S311
    values: dict[str, list[float]] = {scenario.name: [] for scenario in kept}
    while True:
        for scenario in kept:
            values[scenario.name] += trials(scenario, PORTION, dice)
            await asyncio.sleep(0)
        left = deadline - time.monotonic()
        if left <= 0:
            break
        await asyncio.sleep(min(left, 0.05))
    return {
        "version": release,
        "scenarios": {name: dataclasses.asdict(spread(found)) for name, found in values.items()},
    }


async def unavailable(_asked: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": f"database: {error}"}, status_code=503, headers={"Retry-After": "5"})


async def taken(_asked: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": f"there is a scenario called {error}"}, status_code=409)


def application(settings: Settings) -> FastAPI:
    """The application for one database; it starts without it and says so at /health."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pool = connections(settings)
        await pool.open(wait=False)
        app.state.scenarios = Scenarios(pool)
        yield
        await pool.close(timeout=5)

    app = FastAPI(title="CalMiner", version=settings.version, lifespan=lifespan)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.include_router(router)
    app.add_exception_handler(Unavailable, unavailable)
    app.add_exception_handler(NameTaken, taken)
    return app


def __getattr__(name: str) -> Any:
    """`uvicorn main:app` reads the environment; the tests import this module without one."""
    if name == "app":
        return application(Settings.of(os.environ))
    raise AttributeError(name)
