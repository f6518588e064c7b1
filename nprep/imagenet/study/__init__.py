"""A study: a search whose queries are answered by training networks."""
