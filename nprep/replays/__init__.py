"""Runs replays: blocks of trials in this process, in others or on a Ray cluster.

:mod:`nprep.replays.engine` runs a whole replay or a shard of one, :mod:`nprep.replays.workers` its
blocks, and :mod:`nprep.replays.merge` joins shards. From Python a replay is :func:`nprep.run`.
"""
