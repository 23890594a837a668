"""Processes and their wiring: settings, clock, SQS broker, actors, relay, status endpoint, CLI, telemetry, providers.

May import: every room below and the outside world (boto3, dramatiq, starlette, the environment).
Must not: speak SQL.
"""
