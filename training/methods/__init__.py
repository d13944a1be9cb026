"""Teachers, students and their losses: one module a method, none inherits from another."""
