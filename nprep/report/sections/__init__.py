"""The sections of the page, each from what runs have stored.

Nothing is made up: a section whose numbers are not there says which command makes them.
"""
