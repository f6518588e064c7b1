"""The command ``python -m nprep.replay``; what it runs is in ``nprep.replays``.

From Python a replay is ``nprep.run``.
"""
