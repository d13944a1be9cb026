"""The contract of a student bundle, and the runtimes that execute one."""
