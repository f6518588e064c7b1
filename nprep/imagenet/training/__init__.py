"""Training one network, from settings to an exported model."""
