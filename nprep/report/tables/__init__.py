"""The tables of the page: numbers of ``summary.json`` and ``settings.json`` in words."""
