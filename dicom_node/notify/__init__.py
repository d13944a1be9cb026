"""People are told what needs them: parked studies and disks that fill."""
