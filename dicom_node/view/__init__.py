"""What people see of a result: the HTML page and the table, read back from the objects."""
