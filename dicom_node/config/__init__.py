"""The configuration: one TOML file, one frozen model, unknown keys refused."""
