"""Flows: their definitions, the template language, the runner, and the judgement of what an email showed."""
