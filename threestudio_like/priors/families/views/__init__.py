"""Families that are told views: cameras, a picture of the object, several views at once."""
