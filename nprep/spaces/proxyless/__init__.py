"""The ProxylessNAS space: chains of inverted bottlenecks (Cai et al., 2019)."""
