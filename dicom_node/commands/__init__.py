"""One module a command of `dicom-node`; each has `run(arguments) -> exit status`."""
