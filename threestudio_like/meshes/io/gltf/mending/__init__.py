"""What makes a glTF file invalid, mended when it is read and when it is written."""
