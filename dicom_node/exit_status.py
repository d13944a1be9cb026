"""Exit statuses of commands and processes; argparse has 2, a signal 128 + n."""

FAILED = 1
"""What was asked for could not be done, or not for all; the message says why."""
REFUSED = 3
"""The node refuses to start: configuration, database, bundle, engine or port; it stays so."""
MAY_PASS = 4
"""A process of the node could not start now: a full disk, a database that is locked."""
DEVICE_LOST = 5
"""The worker's device is lost to this process; a new one may have it again."""
READER_LEFT = 141
"""Who reads the output has left before its end, as `head` does: 128 + SIGPIPE."""
INTERRUPTED = 130
"""Ended by SIGINT from the keyboard."""
