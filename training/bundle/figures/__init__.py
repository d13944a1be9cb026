"""How good an exported student is: as it will be used, and in parts of its cohort."""
