"""The command ``python -m nprep.replay``; what it runs is in :mod:`nprep.replays`.

From Python a replay is :func:`nprep.run`.
"""
