"""The statistical model of unmeasured values: completion of tables, and a whole surrogate."""
