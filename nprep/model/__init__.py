"""The statistical model of what was never measured: completion of tables, and a whole surrogate."""
