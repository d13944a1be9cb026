"""TLS: contexts by the profiles of PS3.15, certificates, and connections that speak it."""
