"""The commands of `dicom-train`: each module has its flags and what it does.

`add` gives a parser the flags and names, as `arguments`, the dataclass that their values become;
`run` takes it. What a command needs is imported when it runs: help and a word about a wrong flag
must neither wait for torch nor need it.
"""
