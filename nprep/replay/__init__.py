"""Replays of search methods on tables: trials, curves, summary and figure.

``python -m nprep.replay --help`` is the command line;
:func:`nprep.replay.engine.run_replay` does the same from Python.
"""
