"""The processes of a running node: the only places where everything is put together."""
