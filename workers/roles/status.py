"""Role status: the read-only HTTP endpoint, and the page for people."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from workers import status
from workers.catalogue import Role
from workers.connections import database_source
from workers.health import DatabaseReadiness, NotReadyError, Server, application
from workers.logs import logger
from workers.roles.process import log_as, role_heart, role_metrics, serving, stop_signal, watch, watched_pool
from workers.settings import Settings
from workers.verifiers import TOKEN_SETTINGS, make_verifier
from workers.watching import flaw_counter, key_counter, request_counter

_log = logger(__name__)


def run_status(settings: Settings) -> int:
    """Run role status until a signal; return the exit code."""
    settings.require(*TOKEN_SETTINGS)
    metrics = role_metrics(settings, Role.STATUS)
    log_as(Role.STATUS, settings, metrics)
    skew = timedelta(seconds=settings.token_skew_s)
    source = database_source(settings, metrics)
    with stop_signal() as stop, watched_pool(settings, Role.STATUS, metrics, source) as pool:
        verifier = make_verifier(settings, key_counter(metrics))
        limit = settings.denials_per_minute
        views = status.routes(pool, verifier, skew, limit, flawed=flaw_counter(metrics))
        if settings.status_page == "on":
            from workers import page  # noqa: PLC0415 - templates: no other role or command has any

            views += page.routes(pool, settings.status_refresh_s)
        app = application(metrics.registry, dict, DatabaseReadiness(pool), views, observed=request_counter(metrics))
        server = Server(app, settings.host, settings.status_port)
        heart = role_heart(settings, Role.STATUS, pool)
        heart.checks = (lambda: _alive(server),)
        with serving(server) as url:
            heart.start()
            _log.info("status started", url=url)
            healthy = watch(stop, lambda: _alive(server))
            heart.stop(well=healthy)
    return 0 if healthy else 1


def _alive(server: Server) -> Mapping[str, Any]:
    if not server.alive():
        raise NotReadyError("dead threads: http")
    return {}
