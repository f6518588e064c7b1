"""Compiled search methods on NASBench-101 tables, and what decides which run a query sees."""
