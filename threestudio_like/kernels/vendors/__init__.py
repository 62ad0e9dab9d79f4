"""Backends made of other libraries' kernels, one file for each library.

A file is imported only if its library was chosen (``--kernels vendor``). Each backend must pass the
same self-check as the package's own before it is used. None of the libraries is required or
included.
"""
