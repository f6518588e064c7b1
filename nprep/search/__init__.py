"""Search methods: each asks for architectures and is told their values, one module a method."""
