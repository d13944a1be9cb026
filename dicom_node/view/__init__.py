"""What people see of a result: the page and the table, read from the objects."""
