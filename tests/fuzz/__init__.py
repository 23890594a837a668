"""Fuzzing: bodies of every sort through parser, decisions and the real queue; the lifecycle against a model of it."""
