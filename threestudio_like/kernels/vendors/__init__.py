"""Backends made of other libraries' kernels, one file a library; a file is imported only when its
library is asked for (``--kernels vendor``).

Each has to pass the same self-check as our own backends before it serves. None is required, none is
vendored.
"""
