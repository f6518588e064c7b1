"""The figures of the page: pure functions make numbers, thin ones draw them."""
