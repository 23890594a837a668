"""Processes and their wiring: settings, clock, broker, actors, relay, monitor, status, CLI, logs, metrics, providers.

May import: every room below and the outside world (boto3, dramatiq, starlette, the environment).
Must not: speak SQL.
"""
