"""Stand-ins of providers' APIs, each proven by the provider's own SDK."""
