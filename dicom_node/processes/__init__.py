"""The processes of a running node: where everything is put together."""
