"""The interface of the official ``nasbench`` package, on a table of nprep.

``from nprep.nasbench import api`` takes the place of ``from nasbench import api``.
"""
