"""The commands of `dicom-train`, one module per command.

`add` gives a parser its flags and names, as `arguments`, the dataclass that their values become;
`run` takes it. What a command needs is imported when it runs: help and a word about a wrong flag
must neither wait for torch nor need it.
"""
