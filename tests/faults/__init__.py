"""Faults injected on purpose: what is promised of each stands in ``docs/reliability.md``.

Every module holds `FAULTS` of one subject. The tests inject each a few times; ``python tests/faults --long`` injects
them as often as the promises say and prints a table.
"""
