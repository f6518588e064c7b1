"""Runs replays: blocks of trials in this process, in others or on a Ray cluster.

``nprep.replays.engine`` runs a whole replay or a shard of one, ``nprep.replays.workers`` its
blocks, and ``nprep.replays.merge`` joins shards. From Python a replay is ``nprep.run``.
"""
