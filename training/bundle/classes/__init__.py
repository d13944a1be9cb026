"""A student of classes: its output in a bundle, and how good it is at naming one."""
